"""Accuracy by slice, with how sure it is: a slice of one query is no lowest slice."""

import polars as pl
from scipy.stats import binomtest

CONFIDENCE = 0.95


def rank_slices(queries: pl.DataFrame, column: str) -> pl.DataFrame:
    """Accuracy of each value of a column, those that are surely low first.

    Columns: slice (null for queries without a value), queries, accuracy, low and high (its 95 %
    interval by Wilson, 1927), loss (mean, nats). By `high`, so that one wrong query does not go
    before fifty of a hundred.
    """
    grouped = queries.group_by(slice=pl.col(column), maintain_order=True).agg(
        queries=pl.len(),
        right=pl.col("correct").sum(),
        accuracy=pl.col("correct").mean(),
        loss=pl.col("loss").mean(),
    )
    bounds = [_wilson_interval(*row) for row in grouped.select("right", "queries").iter_rows()]
    low, high = (pl.Series(name, [b[i] for b in bounds], pl.Float64) for i, name in BOUNDS)
    return grouped.with_columns(low, high).drop("right").sort("high", "accuracy", "slice")


BOUNDS = ((0, "low"), (1, "high"))


def _wilson_interval(right: int, queries: int) -> tuple[float, float]:
    interval = binomtest(right, queries).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
