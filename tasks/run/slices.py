"""Slices: groups of queries in a shard, over which effects are summed."""

from dataclasses import dataclass

import polars as pl
import torch
from jaxtyping import Int
from torch import Tensor

from fastif.attribution.certificate import Certificate
from tasks.models.row_predictions import predict_rows
from tasks.models.target_outputs import is_predicted
from tasks.run.context import RunContext
from tasks.study.study import Study


@dataclass(frozen=True, eq=False)
class Slices:
    """Slice of each query, and the key of each slice.

    Attributes:
        numbers: Slice number of each query, [q].
        keys: Columns `correct` and `group`, one row a slice, by slice number.
    """

    numbers: Int[Tensor, " q"]
    keys: pl.DataFrame

    def count_queries(self, certificate: Certificate) -> pl.DataFrame:
        """Return the keys with the number of queries that have scores in each slice."""
        has_scores = (~certificate.quarantined).long()
        counts = torch.zeros(len(self.keys), dtype=torch.long).index_add_(
            0, self.numbers, has_scores
        )
        return self.keys.with_columns(queries=pl.Series(counts.numpy()))


def has_totals(study: Study) -> bool:
    """Return whether the study sums effects over queries; only a full scan can."""
    return study.candidates.has_totals


def make_slices(context: RunContext, ids: Int[Tensor, " q"], outputs: Tensor) -> Slices:
    """Group queries by correctness and by the study's first group column.

    The correctness is null for queries without a label, and for numbers.
    """
    table = context.plan.inputs.queries
    chosen = table.take(ids.tolist())
    focus = chosen.focus or [None] * len(chosen)
    predicted = predict_rows(context.study, outputs, context.query_examples, ids)
    rows = zip(chosen.given_labels, predicted, focus, strict=True)
    correct = [is_predicted(context.study, *row) for row in rows]
    group = next(iter(table.groups.values()), None)
    group_names = [None if group is None else group[i] for i in ids.tolist()]
    columns = {"correct": correct, "group": group_names}
    frame = pl.DataFrame(columns, schema={"correct": pl.Boolean, "group": pl.String})
    keys = frame.unique(maintain_order=True)
    numbered = keys.with_row_index("number")
    numbered_rows = frame.join(numbered, on=keys.columns, nulls_equal=True, maintain_order="left")
    return Slices(torch.tensor(numbered_rows["number"].to_list(), dtype=torch.long), keys)
