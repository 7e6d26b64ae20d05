"""Ranking of the training rows of a query: by `ranking_score`, or by `removal_effect`."""

from __future__ import annotations

from typing import Final

import polars as pl

RANKING_SCORE: Final = "ranking_score"
"""Column of the table `scores` with the number that ranks, null where `removal_effect` does."""
RANKING: Final = pl.coalesce(RANKING_SCORE, "removal_effect")
"""Expression of the number by which the training rows of a query are ordered, ascending."""


def fill_ranking_score(scores: pl.LazyFrame) -> pl.LazyFrame:
    """Add the column `ranking_score` of nulls to scores of an earlier version.

    Args:
        scores: Table `scores`, or a part of it.

    Examples:
        >>> scores = fill_ranking_score(pl.LazyFrame({"removal_effect": [-0.5, 0.2]}))
        >>> scores.select(RANKING).collect().to_series().to_list()
        [-0.5, 0.2]
    """
    if RANKING_SCORE in scores.collect_schema():
        return scores
    return scores.with_columns(pl.lit(None, pl.Float32).alias(RANKING_SCORE))
