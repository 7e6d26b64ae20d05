"""Contradictions of a mislabel table: identical rows with different labels, one cluster each."""

from dataclasses import dataclass

import polars as pl

IS_CONTRADICTED = pl.col("label").n_unique().over("cluster") > 1
"""Whether an unreviewed row is in a cluster with different labels."""


@dataclass(frozen=True)
class Contradictions:
    """Numbers of contradictions among the unreviewed rows.

    Attributes:
        contents: Number of contents that occur with different labels.
        rows: Number of rows with such a content.
        wrong: Least number of wrong labels among them, if identical rows have one true class.
    """

    contents: int
    rows: int
    wrong: int


def count_contradictions(table: pl.DataFrame) -> Contradictions:
    """Count the contradictions among the unreviewed rows of a table."""
    by_label = table.filter(pl.col("reviewed").is_null()).group_by("cluster", "label").len()
    clusters = by_label.group_by("cluster").agg(
        labels=pl.len(), rows=pl.col("len").sum(), most=pl.col("len").max()
    )
    several = clusters.filter(pl.col("labels") > 1)
    rows, most = int(several["rows"].sum()), int(several["most"].sum())
    return Contradictions(len(several), rows, rows - most)


def select_contradictions(rows: pl.DataFrame) -> pl.DataFrame:
    """Select the rows of a cluster with different labels.

    Args:
        rows: Unreviewed rows of a mislabel table.
    """
    return rows.filter(IS_CONTRADICTED)


def merge_contradictions(ranked: pl.DataFrame) -> pl.DataFrame:
    """Keep the first row of each contradiction, and all other rows.

    Args:
        ranked: Unreviewed rows, most suspicious first.
    """
    return ranked.filter(~IS_CONTRADICTED | pl.col("cluster").is_first_distinct())


def name_contradictions(first: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Add column `contradicts`: label and id of an identical row with another label, else null.

    Args:
        first: A row of each cluster.
        rows: All unreviewed rows, most suspicious first.
    """
    others = rows.select("cluster", other_label="label", other_id="id")
    pairs = first.select("cluster", "label").join(others, on="cluster", maintain_order="left_right")
    named = pl.format("{}: row {}", "other_label", "other_id")
    contradicting = (
        pairs.filter(pl.col("label") != pl.col("other_label"))
        .unique("cluster", keep="first", maintain_order=True)
        .select("cluster", contradicts=named)
    )
    return first.join(contradicting, on="cluster", how="left", maintain_order="left")


def is_contradiction(row: dict, other: dict) -> bool:
    """Whether two rows of a table are identical with different labels."""
    return row["cluster"] == other["cluster"] and row["label"] != other["label"]
