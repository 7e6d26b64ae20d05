"""Predictions of a sample of labelled rows: do they agree with the labels of the table?"""

import numpy as np
import polars as pl

from tasks.models.label_order import find_better_label_order
from tasks.onboarding.column_profiles import format_values
from tasks.onboarding.image_trial import ImageTrial
from tasks.onboarding.label_order import LabelOrder, is_chance
from tasks.onboarding.model_trial import ModelTrial
from tasks.onboarding.reading_trials import read_texts, sample_rows
from tasks.onboarding.roles import TableRoles

ORDER_ROWS, CLASS_ROWS = 200, 5
"""Number of sampled rows that check the order of labels, and least number of each label."""
SETTLING_ACCURACY = 0.5
"""Share of correct predictions from which a column is the label, under any name."""
MIN_QUERIES = 20
"""Number of labelled queries below which their accuracy says little."""
MIN_RATIO = 0.75
"""Ratio of the accuracies of queries and training rows from which queries are not doubted."""


def predict_sample(
    trial: ModelTrial | ImageTrial, roles: TableRoles
) -> tuple[list[str], np.ndarray]:
    """Predict a sample of labelled rows.

    Args:
        trial: Loaded model.
        roles: Roles of the columns of a table with what the model reads.

    Returns:
        Label of each sampled row, and the output unit that the model predicts for it.
    """
    label = roles.content.label
    values = format_values(roles.table.frame[label]).alias(label)
    rows = roles.table.frame.with_columns(values).filter(pl.col(label).is_in([*roles.labels]))
    rows = _sample_labelled(rows, label)
    if isinstance(trial, ModelTrial):
        scores = trial.predict(*read_texts(rows, roles.content.text))
    else:
        scores = trial.predict_images(rows[str(roles.image)], roles.table.path)
    if scores is None:
        return [], np.empty(0, np.int64)
    return rows[label].to_list(), scores.argmax(1)


def agrees(order: LabelOrder) -> bool:
    """Whether the predictions of the training rows agree with their labels."""
    return not order.warning and (order.accuracy or 0.0) >= SETTLING_ACCURACY


def describe_query_doubt(
    trial: ModelTrial | ImageTrial, queries: TableRoles, order: LabelOrder
) -> str:
    """Describe queries that are predicted no better than by chance, unlike the training rows.

    Args:
        trial: Loaded model.
        queries: Roles of the queries.
        order: Labels in the order of the outputs, with the accuracy on training rows.
    """
    if not agrees(order) or sum(queries.labels.values()) < MIN_QUERIES:
        return ""
    given, predicted = predict_sample(trial, queries)
    units = np.array([order.labels.index(value) for value in given])
    accuracy, least = float((units == predicted).mean()), MIN_RATIO * (order.accuracy or 0.0)
    better = find_better_label_order(units.tolist(), predicted.tolist(), order.labels)
    if better is None and (accuracy >= least or not is_chance(units, predicted)):
        return ""
    exchanged = f", {100 * better.better_accuracy:.0f} % with labels exchanged" if better else ""
    return (
        f"{100 * accuracy:.0f} % of {len(units)} sampled queries are predicted "
        f"correctly{exchanged}, but {100 * (order.accuracy or 0):.0f} % of the training rows: "
        "compare texts and labels of both tables"
    )


def _sample_labelled(frame: pl.DataFrame, label: str) -> pl.DataFrame:
    """Sample rows, with a few rows of each label that is rare in the sample."""
    numbered = frame.with_row_index("__position__")
    sample = sample_rows(numbered, ORDER_ROWS)
    counts = dict(sample[label].value_counts().iter_rows())
    rare = [value for value in numbered[label].unique() if counts.get(value, 0) < CLASS_ROWS]
    more = numbered.filter(pl.col(label).is_in(rare))
    more = more.filter(pl.int_range(pl.len()).over(label) < CLASS_ROWS)
    return pl.concat([sample, more]).unique("__position__", maintain_order=True)
