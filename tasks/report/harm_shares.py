"""Harm shares: which label or source of training rows harms which slice of the queries."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from storage.queries import HARM
from tasks.report.run_data import RunData

MAX_SHARES = 10


@dataclass(frozen=True)
class HarmShare:
    """Harm of the training rows of one label or source to one slice of the queries.

    Attributes:
        column: Name of the column that groups the training rows, such as `label`.
        value: Value of the training rows in it; None for rows without one.
        slice: Value of the queries in the column that slices them; None for those without one.
        harm: Summed harm of these rows to the slice, in nats.
        share: Share of the harm of all rows to the slice, from 0 to 1.
        base: Share of these rows among all training rows, from 0 to 1.
    """

    column: str
    value: str | None
    slice: str | None
    harm: float
    share: float
    base: float


def list_harm_shares(data: RunData) -> list[HarmShare]:
    r"""List the labels and sources that harm a slice most beyond their share of the rows.

    Harm is :math:`h = -\sum \min(\Delta, 0)` over the removal effects :math:`\Delta` that were
    kept, in nats. A group with a share :math:`b` of the training rows is expected to do
    :math:`b \, h` of the harm :math:`h` to a slice, so groups are ordered by their harm minus
    :math:`b \, h`. This describes the run; it is no test.

    Returns:
        At most ten pairs of group and slice whose harm exceeds their share, the largest excess
        first.
    """
    harmful = data.scores.filter(HARM > 0).select("query", "train", harm=HARM.cast(pl.Float64))
    harmful = harmful.join(data.queries.select("query", slice=data.slice_column), on="query")
    shares = [
        share
        for column in dict.fromkeys((data.label_column, data.source_column))
        for share in _sum_by_group(data, harmful, column)
        if share.share > share.base
    ]
    shares.sort(key=lambda share: share.harm * (share.base / share.share - 1))
    return shares[:MAX_SHARES]


def _sum_by_group(data: RunData, harmful: pl.DataFrame, column: str) -> Iterator[HarmShare]:
    groups = data.train.select("train", group=column)
    counts = dict(groups.group_by("group").len().iter_rows())
    totals = dict(
        harmful.group_by("slice", maintain_order=True).agg(pl.col("harm").sum()).iter_rows()
    )
    sums = (
        harmful.join(groups, on="train")
        .group_by("group", "slice", maintain_order=True)
        .agg(pl.col("harm").sum())
        .sort("group", "slice")
    )
    name = column.removeprefix("group_")
    for group, part, harm in sums.iter_rows():
        yield HarmShare(name, group, part, harm, harm / totals[part], counts[group] / len(groups))
