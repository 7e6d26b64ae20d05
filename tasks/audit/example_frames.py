"""Frames of the tables `queries` and `train`: examples with predictions, losses and measures."""

import polars as pl
import torch
from torch import Tensor

from fastif.data.examples import Examples
from fastif.losses import BinaryCrossEntropy
from storage import polars_schema
from storage.example_schemas import queries_schema, train_schema
from tasks.data.dataset import Table
from tasks.data.target_text import format_target
from tasks.models.query_targets import list_measures
from tasks.models.row_predictions import make_row_targets, predict_rows
from tasks.models.target_outputs import (
    has_margins,
    has_ranks,
    is_predicted,
    make_plain_loss,
    round_prediction,
)
from tasks.run.context import RunContext
from tasks.study.study import Study
from tasks.study.target_kind import MULTI_LABEL, ONE_CLASS, TAGS


def make_train_frame(context: RunContext, ids: Tensor, outputs: Tensor) -> pl.DataFrame:
    """Return rows of the table `train`."""
    table = context.plan.inputs.train
    columns = _make_columns(context, table, ids, outputs, context.train_examples)
    weights = None if table.weights is None else [table.weights[i] for i in ids.tolist()]
    columns |= {"self_influence": None, "trained": None, "weight": weights}
    schema = polars_schema(train_schema(list(table.groups)))
    return pl.DataFrame({"train": ids.numpy()} | columns).select(schema.names()).cast(schema)


def make_queries_frame(
    context: RunContext, ids: Tensor, outputs: Tensor, values: Tensor
) -> pl.DataFrame:
    """Return rows of the table `queries`.

    Args:
        context: Context of the run.
        ids: Positions of the queries.
        outputs: Outputs of the model.
        values: Function of the measure at each query's target; it rises as the measure gets worse.
    """
    table = context.plan.inputs.queries
    all_measures = list_measures(context.study, table)
    measures = [all_measures[i] for i in ids.tolist()]
    factors = torch.tensor([measure.factor for measure in measures], device=values.device)
    columns = _make_columns(context, table, ids, outputs, context.query_examples)
    columns |= {
        "measure": [measure.name for measure in measures],
        "measure_value": null_nonfinite(values * factors),
    }
    schema = polars_schema(queries_schema(list(table.groups)))
    return pl.DataFrame({"query": ids.numpy()} | columns).select(schema.names()).cast(schema)


def null_nonfinite(numbers: Tensor) -> pl.Series:
    """Convert numbers to a column with nulls in place of non-finite values."""
    column = pl.Series(numbers.cpu().float().numpy())
    return pl.select(pl.when(column.is_finite()).then(column)).to_series()


def _make_columns(
    context: RunContext, table: Table, ids: Tensor, outputs: Tensor, examples: Examples
) -> dict[str, object]:
    """Return the columns that both tables have."""
    study, rows = context.study, ids.tolist()
    columns = make_prediction_columns(study, table.take(rows), outputs, examples, ids)
    return {
        "id": [table.ids[i] for i in rows],
        "text": [table.texts[i] for i in rows],
        "text_pair": None if table.text_pairs is None else [table.text_pairs[i] for i in rows],
        **columns,
        "truncated": examples.truncated[ids].numpy(),
        **{f"group_{name}": [group[i] for i in rows] for name, group in table.groups.items()},
    }


def make_prediction_columns(
    study: Study, rows: Table, outputs: Tensor, examples: Examples, ids: Tensor
) -> dict[str, object]:
    """Return label, prediction, loss, probability and correctness of rows.

    The loss is null without a label. The probability is that of the label, of all labels of a row
    together, or without a label of the prediction; numbers have none.

    Args:
        study: Study file.
        rows: Rows of a table of the study.
        outputs: Outputs of the model.
        examples: The whole table as inputs of the model.
        ids: Positions of the rows in the table.
    """
    given, predicted = rows.given_labels, predict_rows(study, outputs, examples, ids)
    focus = rows.focus or [None] * len(rows)
    is_finite = pl.Series(torch.isfinite(outputs).all(1).cpu().tolist(), dtype=pl.Boolean)
    is_labelled = pl.Series([label is not None for label in given], dtype=pl.Boolean)
    targets = [p if label is None else label for label, p in zip(given, predicted, strict=True)]
    numbers = make_row_targets(study, targets, rows.focus, examples, ids).to(outputs.device)
    losses = make_plain_loss(study)(outputs, numbers)
    shown = [round_prediction(study, prediction) for prediction in predicted]
    names = [
        format_target(value, study.target, study.labels, label)
        for value, label in zip(shown, focus, strict=True)
    ]
    return {
        "label": rows.name_targets(study.labels),
        "prediction": _null_where(pl.Series(names, dtype=pl.String), ~is_finite),
        "loss": _null_where(null_nonfinite(losses), ~is_labelled),
        "probability": null_nonfinite(_compute_probabilities(study, numbers, outputs, losses)),
        "correct": pl.Series(
            [is_predicted(study, *row) for row in zip(given, predicted, focus, strict=True)],
            dtype=pl.Boolean,
        )
        & is_finite,
    }


def _compute_probabilities(
    study: Study, targets: Tensor, outputs: Tensor, losses: Tensor
) -> Tensor:
    """Return the probability of each target; NaN for numbers, ranks and soft labels.

    That of tags is the probability of all tags of a sentence together.
    """
    if study.target == MULTI_LABEL:  # of all labels of a row together
        return (-BinaryCrossEntropy(skip_missing=True)(outputs, targets)).exp()
    if not has_margins(study):
        has_chance = study.target in (*ONE_CLASS, TAGS) and not has_ranks(study)
        return (-losses).exp() if has_chance else torch.full_like(losses, torch.nan)
    return outputs.softmax(1).cpu().gather(1, targets.cpu()[:, None])[:, 0]


def _null_where(column: pl.Series, mask: pl.Series) -> pl.Series:
    return pl.select(pl.when(~mask).then(column)).to_series()
