"""Order of rows for review by the expected gain of their clusters."""

from typing import Literal

import polars as pl

ReviewOrder = Literal["doubt", "gain"]
"""Order of rows for review: by doubt, or by the expected gain of a head that is trained again."""


def sort_by_gain(first: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Sort the first rows of clusters by the total gain of their rows.

    One annotation decides all rows of a cluster. Clusters of unknown gain come last.

    Args:
        first: A row of each cluster.
        rows: All unreviewed rows, with column `gain`, null where it is unknown.
    """
    totals = rows.group_by("cluster").agg(
        total=pl.col("gain").sum(), unknown=pl.col("gain").is_null().all()
    )
    return (
        first.join(totals, on="cluster", how="left", maintain_order="left")
        .sort("unknown", -pl.col("total"), "rank")
        .drop("total", "unknown")
    )
