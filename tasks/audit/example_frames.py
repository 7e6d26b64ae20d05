"""Frames of the tables `queries` and `train`: examples with predictions, losses and measures."""

from collections.abc import Sequence

import polars as pl
import torch
from torch import Tensor

from fastif.losses import BinaryCrossEntropy
from storage import polars_schema
from storage.example_schemas import queries_schema, train_schema
from tasks.data.dataset import Table
from tasks.data.read_targets import Target, format_target
from tasks.models.query_targets import list_measures
from tasks.models.target_outputs import (
    has_margins,
    has_ranks,
    is_predicted,
    make_plain_loss,
    make_plain_targets,
    predict_targets,
    round_prediction,
)
from tasks.run.context import RunContext
from tasks.study.study import Study
from tasks.study.target_kind import MULTI_LABEL, ONE_CLASS


def make_train_frame(context: RunContext, ids: Tensor, outputs: Tensor) -> pl.DataFrame:
    """Return rows of the table `train`."""
    table = context.plan.inputs.train
    columns = _make_columns(context, table, ids, outputs, context.train_examples.truncated)
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
    columns = _make_columns(context, table, ids, outputs, context.query_examples.truncated)
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
    context: RunContext, table: Table, ids: Tensor, outputs: Tensor, truncated: Tensor
) -> dict[str, object]:
    """Return the columns that both tables have."""
    study, rows = context.study, ids.tolist()
    given = [table.given_labels[i] for i in rows]
    columns = make_prediction_columns(study, given, outputs)
    return {
        "id": [table.ids[i] for i in rows],
        "text": [table.texts[i] for i in rows],
        "text_pair": None if table.text_pairs is None else [table.text_pairs[i] for i in rows],
        **columns,
        "truncated": truncated[ids].numpy(),
        **{f"group_{name}": [group[i] for i in rows] for name, group in table.groups.items()},
    }


def make_prediction_columns(
    study: Study, given: Sequence[Target | None], outputs: Tensor
) -> dict[str, object]:
    """Return label, prediction, loss, probability and correctness of rows.

    The loss is null without a label. The probability is that of the label, of all labels of a row
    together, or without a label of the prediction; numbers have none.

    Args:
        study: Study file.
        given: Target of each row; None without.
        outputs: Outputs of the model.
    """
    predicted = predict_targets(study, outputs)
    is_finite = pl.Series(torch.isfinite(outputs).all(1).cpu().tolist(), dtype=pl.Boolean)
    is_labelled = pl.Series([label is not None for label in given], dtype=pl.Boolean)
    targets = [p if label is None else label for label, p in zip(given, predicted, strict=True)]
    losses = make_plain_loss(study)(outputs, make_plain_targets(study, targets).to(outputs.device))
    shown = [round_prediction(study, prediction) for prediction in predicted]
    names = [format_target(value, study.target, study.labels) for value in shown]
    return {
        "label": [format_target(label, study.target, study.labels) for label in given],
        "prediction": _null_where(pl.Series(names, dtype=pl.String), ~is_finite),
        "loss": _null_where(null_nonfinite(losses), ~is_labelled),
        "probability": null_nonfinite(_compute_probabilities(study, targets, outputs, losses)),
        "correct": pl.Series(
            [is_predicted(study, label, p) for label, p in zip(given, predicted, strict=True)],
            dtype=pl.Boolean,
        )
        & is_finite,
    }


def _compute_probabilities(
    study: Study, targets: Sequence[Target], outputs: Tensor, losses: Tensor
) -> Tensor:
    """Return the probability of each target; NaN for numbers, ranks and soft labels."""
    if study.target == MULTI_LABEL:  # of all labels of a row together
        chosen = make_plain_targets(study, targets).to(outputs.device)
        return (-BinaryCrossEntropy()(outputs, chosen)).exp()
    if not has_margins(study):
        is_ordinal = study.target in ONE_CLASS and not has_ranks(study)
        return (-losses).exp() if is_ordinal else torch.full_like(losses, torch.nan)
    return outputs.softmax(1).cpu().gather(1, torch.tensor(list(targets))[:, None])[:, 0]


def _null_where(column: pl.Series, mask: pl.Series) -> pl.Series:
    return pl.select(pl.when(~mask).then(column)).to_series()
