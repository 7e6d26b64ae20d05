"""Accuracy by slice with Wilson confidence intervals, so that tiny slices do not rank lowest."""

import polars as pl
from scipy.stats import binomtest

CONFIDENCE = 0.95


def rank_slices(queries: pl.DataFrame, column: str) -> pl.DataFrame:
    """Accuracy of each value of a column, sorted by the upper confidence bound, lowest first.

    Columns: slice (null for queries without a value), queries, accuracy, low and high (95 %
    confidence interval of Wilson, 1927), loss (mean, nats). Sorted by `high`, so that a slice of
    one wrong query does not come before one with 50 wrong of 100.
    """
    grouped = queries.group_by(slice=pl.col(column), maintain_order=True).agg(
        queries=pl.len(),
        right=pl.col("correct").sum(),
        accuracy=pl.col("correct").mean(),
        loss=pl.col("loss").mean(),
    )
    bounds = [wilson_interval(*row) for row in grouped.select("right", "queries").iter_rows()]
    low, high = (pl.Series(name, [b[i] for b in bounds], pl.Float64) for i, name in BOUNDS)
    return grouped.with_columns(low, high).drop("right").sort("high", "accuracy", "slice")


BOUNDS = ((0, "low"), (1, "high"))


def wilson_interval(
    right: int, queries: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Confidence interval of an accuracy (Wilson, 1927).

    Examples:
        >>> low, high = wilson_interval(8, 10)
        >>> f"{low:.3f} {high:.3f}"
        '0.490 0.943'
    """
    interval = binomtest(right, queries).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
