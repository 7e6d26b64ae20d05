"""Frames of the tables `queries` and `train`: examples with predictions, losses and measures."""

from collections.abc import Sequence

import polars as pl
import torch
from torch import Tensor

from fastif.losses import CrossEntropy
from storage import polars_schema
from storage.example_schemas import queries_schema, train_schema
from tasks.data.dataset import Table
from tasks.models.query_targets import list_measures
from tasks.run.context import RunContext


def make_train_frame(context: RunContext, ids: Tensor, outputs: Tensor) -> pl.DataFrame:
    """Return rows of the table `train`."""
    examples, table = context.train_examples, context.plan.inputs.train
    given = examples.labels[ids].cpu().tolist()
    columns = _make_columns(context, table, ids, outputs, given, examples.truncated)
    columns |= {"loss": _compute_losses(outputs, given), "self_influence": None, "trained": None}
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
    table, labels = context.plan.inputs.queries, context.query_examples
    given = [table.given_labels[i] for i in ids.tolist()]
    all_measures = list_measures(context.study, table)
    measures = [all_measures[i] for i in ids.tolist()]
    factors = torch.tensor([measure.factor for measure in measures], device=values.device)
    columns = _make_columns(context, table, ids, outputs, given, labels.truncated)
    columns |= {
        "loss": _compute_losses(outputs, given),
        "measure": [measure.name for measure in measures],
        "measure_value": null_nonfinite(values * factors),
    }
    schema = polars_schema(queries_schema(list(table.groups)))
    return pl.DataFrame({"query": ids.numpy()} | columns).select(schema.names()).cast(schema)


def null_nonfinite(numbers: Tensor) -> pl.Series:
    """Convert numbers to a column with nulls in place of non-finite values."""
    column = pl.Series(numbers.cpu().float().numpy())
    return pl.select(pl.when(column.is_finite()).then(column)).to_series()


def _compute_losses(outputs: Tensor, given: Sequence[int | None]) -> pl.Series:
    """Return the loss at the given label; null without a label."""
    targets = torch.tensor([label or 0 for label in given], device=outputs.device)
    losses = null_nonfinite(CrossEntropy()(outputs, targets))
    is_labelled = pl.Series([label is not None for label in given], dtype=pl.Boolean)
    return pl.select(pl.when(is_labelled).then(losses)).to_series()


def _make_columns(
    context: RunContext,
    table: Table,
    ids: Tensor,
    outputs: Tensor,
    given: Sequence[int | None],
    truncated: Tensor,
) -> dict[str, object]:
    """Return the columns that both tables have."""
    rows, names = ids.tolist(), context.study.labels
    predicted, finite = outputs.argmax(1).cpu(), torch.isfinite(outputs).all(1).cpu().tolist()
    label_names = [None if label is None else names[label] for label in given]
    predictions = [
        names[label] if is_finite else None
        for label, is_finite in zip(predicted.tolist(), finite, strict=True)
    ]
    targets = torch.tensor(
        [
            prediction if label is None else label
            for label, prediction in zip(given, predicted.tolist(), strict=True)
        ],
        dtype=torch.long,
    )
    probability = outputs.softmax(1).cpu().gather(1, targets[:, None])[:, 0]
    return {
        "id": [table.ids[i] for i in rows],
        "text": [table.texts[i] for i in rows],
        "text_pair": None if table.text_pairs is None else [table.text_pairs[i] for i in rows],
        "label": label_names,
        "prediction": predictions,
        "probability": null_nonfinite(probability),
        "correct": [
            None if label is None else label == prediction
            for label, prediction in zip(label_names, predictions, strict=True)
        ],
        "truncated": truncated[ids].numpy(),
        **{f"group_{name}": [group[i] for i in rows] for name, group in table.groups.items()},
    }
