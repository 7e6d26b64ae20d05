"""Questions to the tables: pure functions, LazyFrame to LazyFrame.

Harmful is a negative removal_effect, helpful a positive one (see storage.fields.CONVENTION). What
is called an effect keeps that sign; what is called `harm` is the size of a harmful effect, positive
wherever it is stored or shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

EXAMPLE_COLUMNS: Final = ("id", "text", "text_pair", "label")
_EFFECT: Final = pl.col("removal_effect")
HARM: Final = _EFFECT.clip(upper_bound=0).abs()
"""Of each score, the nats by which its query's loss would fall without the training row; 0 if the
row is helpful."""


def find_most_harmful(scores: pl.LazyFrame, query: int, k: int) -> pl.LazyFrame:
    """The `k` training rows that harm a query most, worst first; fewer if fewer are negative."""
    return scores.filter(pl.col("query") == query, _EFFECT < 0).sort("rank").head(k)


def find_most_helpful(scores: pl.LazyFrame, query: int, k: int) -> pl.LazyFrame:
    """The `k` training rows that help a query most, best first; fewer if fewer are positive."""
    helpful = scores.filter(pl.col("query") == query, _EFFECT > 0)
    return helpful.sort("rank", descending=True).head(k)


def find_affected_queries(scores: pl.LazyFrame, train: int) -> pl.LazyFrame:
    """Every query that one training row was scored for, strongest effect of either sign first."""
    affected = scores.filter(pl.col("train") == train)
    return affected.sort(_EFFECT.abs(), "query", descending=[True, False])


def sum_harm_by_train(scores: pl.LazyFrame) -> pl.LazyFrame:
    """Summed harm of each training row of `scores`: Σ max(0, -removal_effect) over its queries.

    Columns: train; harm, that sum (nats, 0 or more); harmful_effect, the same sum of the effects
    themselves (0 or less); effect, the sum of all its effects; harmful_queries, how many queries it
    harms; appearances, how many it was scored for; mean_effect, the mean over those. In order of
    first appearance. Sums are of double precision and run in the order of the rows, so that they
    are the same every time.
    """
    effect = _EFFECT.cast(pl.Float64)
    harmful_effect = effect.filter(effect < 0).sum()
    return scores.group_by("train", maintain_order=True).agg(
        harm=harmful_effect.abs(),
        harmful_effect=harmful_effect,
        effect=effect.sum(),
        harmful_queries=(effect < 0).sum().cast(pl.UInt32),
        appearances=pl.len().cast(pl.UInt32),
        mean_effect=effect.mean(),
    )


def rank_harmful_rows(scores: pl.LazyFrame, k: int) -> pl.LazyFrame:
    """The `k` training rows that do most harm over all queries of `scores`, worst first.

    Columns: train; harmful_effect, the sum of its negative effects (nats, below 0);
    harmful_queries, how many queries it harms; appearances, how many it was scored for;
    mean_effect, the mean over those (nats). A query for which the row was no candidate counts in
    none of them.
    """
    return (
        sum_harm_by_train(scores)
        .filter(pl.col("harmful_queries") > 0)
        .sort("harm", "train", descending=[True, False])
        .head(k)
        .select("train", "harmful_effect", "harmful_queries", "appearances", "mean_effect")
    )


def count_top_appearances(scores: pl.LazyFrame, k: int) -> pl.LazyFrame:
    """Of how many queries each training row is among the `k` largest effects, the most first.

    By size, whatever the sign; of equal effects on a query the earlier row counts. Columns: train;
    queries; harmful_queries, of how many of these it is harmful. Rows that are in no top are left
    out.
    """
    ordered = scores.sort("query", _EFFECT.abs(), "train", descending=[False, True, False])
    return (
        ordered.group_by("query", maintain_order=True)
        .head(k)
        .group_by("train")
        .agg(
            queries=pl.len().cast(pl.UInt32),
            harmful_queries=(_EFFECT < 0).sum().cast(pl.UInt32),
        )
        .sort(-pl.col("queries").cast(pl.Int64), "train")
    )


def sum_totals(totals: pl.LazyFrame) -> pl.LazyFrame:
    """Each training row's removal effects summed over all the queries of `totals`, worst first.

    Filter by `correct` or `group` before, to sum over a slice. Columns: train; queries;
    removal_effect (nats), of every score of a full scan and not only of those that were kept.
    """
    sums = totals.group_by("train").agg(pl.col("queries").sum(), _EFFECT.sum())
    return sums.sort("removal_effect", "train")


def filter_slice(
    scores: pl.LazyFrame, queries: pl.LazyFrame, column: str, value: str | bool | None
) -> pl.LazyFrame:
    """The scores of the queries whose `column` is `value`; None asks for the nulls.

    Works on any table with a query column, so slices of slices are slices.
    """
    chosen = queries.filter(pl.col(column).eq_missing(pl.lit(value))).select("query")
    return scores.join(chosen, on="query", how="semi", maintain_order="left")


def find_worst_queries(queries: pl.LazyFrame, k: int) -> pl.LazyFrame:
    """The `k` queries with the highest loss, highest first; those without a loss come last."""
    order = queries.sort("loss", "query", descending=[True, False], nulls_last=True)
    return order.head(k)


def find_quarantined(solves: pl.LazyFrame, queries: pl.LazyFrame) -> pl.LazyFrame:
    """The queries without scores, with the reason of each: query, id, reason; in their order."""
    ids = queries.select("query", "id")
    out = solves.filter(pl.col("reason").is_not_null()).select("query", "reason")
    return out.join(ids, on="query").select("query", "id", "reason").sort("query")


def join_examples(
    scores: pl.LazyFrame, train: pl.LazyFrame, columns: Sequence[str] = EXAMPLE_COLUMNS
) -> pl.LazyFrame:
    """Add `columns` of each training row as train_id, train_text, ...; the order stays."""
    return _join_columns(scores, train, "train", columns)


def join_queries(
    scores: pl.LazyFrame, queries: pl.LazyFrame, columns: Sequence[str] = EXAMPLE_COLUMNS
) -> pl.LazyFrame:
    """Add `columns` of each query as query_id, query_text, ...; the order stays."""
    return _join_columns(scores, queries, "query", columns)


def _join_columns(
    rows: pl.LazyFrame, examples: pl.LazyFrame, key: str, columns: Sequence[str]
) -> pl.LazyFrame:
    renamed = examples.select(key, *(pl.col(name).alias(f"{key}_{name}") for name in columns))
    return rows.join(renamed, on=key, how="left", maintain_order="left")
