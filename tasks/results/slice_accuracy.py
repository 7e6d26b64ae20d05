"""Accuracy by slice with Wilson confidence intervals, so that tiny slices do not rank lowest."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import polars as pl

CONFIDENCE = 0.95
MIN_SLICE_SIZE = 10
"""Least number of queries of a slice that is tested, or named as the worst."""


@dataclass(frozen=True)
class SliceInterval:
    """Accuracy of a slice with an interval that holds for all slices at once.

    Attributes:
        value: Value of the group column; None for queries without one.
        queries: Number of queries.
        accuracy: Share of them that is predicted correctly.
        low: Lower bound of the interval.
        high: Upper bound of the interval.
    """

    value: str | None
    queries: int
    accuracy: float
    low: float
    high: float


def rank_slices(queries: pl.DataFrame, column: str) -> pl.DataFrame:
    """Accuracy of each value of a column, sorted by the upper confidence bound, lowest first.

    Columns: slice (null for queries without a value), queries, accuracy, low and high (95 %
    confidence interval of Wilson, 1927), loss (mean, nats). Sorted by `high`, so that a slice of
    one wrong query does not come before one with 50 wrong of 100. Queries without a label do not
    count.
    """
    labelled = queries.filter(pl.col("correct").is_not_null())
    grouped = labelled.group_by(slice=pl.col(column), maintain_order=True).agg(
        queries=pl.len(),
        right=pl.col("correct").sum(),
        accuracy=pl.col("correct").mean(),
        loss=pl.col("loss").mean(),
    )
    bounds = [wilson_interval(*row) for row in grouped.select("right", "queries").iter_rows()]
    low, high = (pl.Series(name, [b[i] for b in bounds], pl.Float64) for i, name in BOUNDS)
    return grouped.with_columns(low, high).drop("right").sort("high", "accuracy", "slice")


BOUNDS = ((0, "low"), (1, "high"))


def find_group_column(names: list[str]) -> str | None:
    """Return the first group column of a table; None without one."""
    return next((name for name in names if name.startswith("group_")), None)


def bound_slices(queries: pl.DataFrame, column: str) -> list[SliceInterval]:
    """Return the slices of `MIN_SLICE_SIZE` labelled queries or more, the lowest bound first.

    The intervals of Wilson have the confidence 1 - 0.05 / m for m slices (Bonferroni).

    Args:
        queries: Table of queries; only `correct` and the column are read.
        column: Group column.
    """
    labelled = queries.filter(pl.col("correct").is_not_null())
    counts = labelled.group_by(slice=pl.col(column)).agg(
        queries=pl.len(), right=pl.col("correct").sum()
    )
    rows = counts.filter(pl.col("queries") >= MIN_SLICE_SIZE).rows()
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(rows))
    slices = [
        SliceInterval(value, count, right / count, *wilson_interval(right, count, confidence))
        for value, count, right in rows
    ]
    return sorted(slices, key=lambda each: (each.high, each.accuracy, each.value or ""))


def wilson_interval(
    right: int, queries: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Confidence interval of an accuracy (Wilson, 1927), in closed form.

    Examples:
        >>> low, high = wilson_interval(8, 10)
        >>> f"{low:.3f} {high:.3f}"
        '0.490 0.943'
    """
    share, z = right / queries, NormalDist().inv_cdf((1 + confidence) / 2)
    scale = 1 + z * z / queries
    middle = (share + z * z / (2 * queries)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / queries + z * z / (4 * queries**2))
    return 0.0 if right == 0 else middle - half, 1.0 if right == queries else middle + half


def rank_first_group(queries: pl.DataFrame, count: int) -> list[dict[str, object]]:
    """Return the accuracy by the first group column, if there is one; see `rank_slices`.

    Args:
        queries: Table `queries` of a run.
        count: Largest number of slices.
    """
    groups = [name for name in queries.columns if name.startswith("group_")]
    return rank_slices(queries, groups[0]).head(count).to_dicts() if groups else []
