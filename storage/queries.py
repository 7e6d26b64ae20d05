"""Queries on the tables of a run: pure functions from `LazyFrame` to `LazyFrame`.

A negative `removal_effect` is harmful, a positive one helpful (see `storage.fields.CONVENTION`).
Columns named `effect` keep this sign. Columns named `harm` are the absolute value of harmful
effects, hence 0 or more. Rows of one query are ordered by `rank`, hence by `ranking_score` where it
is not null, and its sign makes a row harmful or helpful in the lists of a query: only a gradient
cosine can differ from the effect in sign. Sums over queries are of effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from storage.ranking import RANKING, fill_ranking_score

EXAMPLE_COLUMNS: Final = ("id", "text", "text_pair", "label")
"""Columns of the tables `train` and `queries` that are joined by default."""
_EFFECT: Final = pl.col("removal_effect")
HARM: Final = _EFFECT.clip(upper_bound=0).abs()
"""Expression of a score's harm in nats, max(0, -removal_effect): the fall of the query's loss
without the training row."""


def find_most_harmful(scores: pl.LazyFrame, query: int, k: int) -> pl.LazyFrame:
    """Return the top-k harmful training rows of a query, most harmful first.

    Args:
        scores: Table `scores`.
        query: Position of the query.
        k: Maximum number of rows.

    Returns:
        Rows of `scores` with a negative `ranking_score`, or `removal_effect` where that is null, in
        ascending order of `rank`; fewer than `k` if fewer are negative.

    Examples:
        >>> scores = pl.LazyFrame(
        ...     {"query": [0, 0, 0], "train": [7, 3, 5], "rank": [0, 1, 2],
        ...      "removal_effect": [-0.5, -0.1, 0.2]}
        ... )
        >>> find_most_harmful(scores, query=0, k=5).collect()["train"].to_list()
        [7, 3]
    """
    listed = fill_ranking_score(scores).filter(pl.col("query") == query, RANKING < 0)
    return listed.sort("rank").head(k)


def find_most_helpful(scores: pl.LazyFrame, query: int, k: int) -> pl.LazyFrame:
    """Return the top-k helpful training rows of a query, most helpful first.

    Args:
        scores: Table `scores`.
        query: Position of the query.
        k: Maximum number of rows.

    Returns:
        Rows of `scores` with a positive `ranking_score`, or `removal_effect` where that is null, in
        descending order of `rank`; fewer than `k` if fewer are positive.

    Examples:
        >>> scores = pl.LazyFrame(
        ...     {"query": [0, 0, 0], "train": [7, 3, 5], "rank": [0, 1, 2],
        ...      "removal_effect": [-0.5, -0.1, 0.2]}
        ... )
        >>> find_most_helpful(scores, query=0, k=5).collect()["train"].to_list()
        [5]
    """
    listed = fill_ranking_score(scores).filter(pl.col("query") == query, RANKING > 0)
    return listed.sort("rank", descending=True).head(k)


def find_affected_queries(scores: pl.LazyFrame, train: int) -> pl.LazyFrame:
    """Return all scores of a training row, in descending order of the absolute effect.

    Args:
        scores: Table `scores`.
        train: Position of the training row.
    """
    affected = scores.filter(pl.col("train") == train)
    return affected.sort(_EFFECT.abs(), "query", descending=[True, False])


def sum_harm_by_train(scores: pl.LazyFrame) -> pl.LazyFrame:
    """Sum the harm Σ max(0, -removal_effect) of each training row over its queries.

    Sums are in double precision and in the order of the rows, so that results are reproducible.

    Args:
        scores: Table `scores`, or the part of it to sum over.

    Returns:
        One row a training row, in order of first appearance. Columns: `train`; `harm`, the sum of
        harm (nats, 0 or more); `harmful_effect`, the sum of the harmful effects (nats, 0 or less);
        `effect`, the sum of all effects (nats); `harmful_queries`, the number of queries the row
        harms; `appearances`, the number of queries it was scored for; `mean_effect`, the mean
        effect over those (nats).
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
    """Return the top-k training rows by total harm over all queries, most harmful first.

    A query for which a row was not a candidate contributes nothing to that row.

    Args:
        scores: Table `scores`, or the part of it to rank by.
        k: Maximum number of rows.

    Returns:
        Columns: `train`; `harmful_effect`, the sum of the row's negative effects (nats);
        `harmful_queries`, the number of queries it harms; `appearances`, the number of queries it
        was scored for; `mean_effect`, the mean effect over those (nats).

    Examples:
        >>> scores = pl.LazyFrame(
        ...     {"query": [0, 0, 1], "train": [7, 3, 7], "removal_effect": [-0.5, -0.75, -0.5]}
        ... )
        >>> rank_harmful_rows(scores, k=5).select("train", "harmful_effect").collect().rows()
        [(7, -1.0), (3, -0.75)]
    """
    return (
        sum_harm_by_train(scores)
        .filter(pl.col("harmful_queries") > 0)
        .sort("harm", "train", descending=[True, False])
        .head(k)
        .select("train", "harmful_effect", "harmful_queries", "appearances", "mean_effect")
    )


def count_top_appearances(scores: pl.LazyFrame, k: int) -> pl.LazyFrame:
    """Count in how many queries each training row is among the top-k of absolute effects.

    Absolute ranking scores are compared in queries that have them. Ties within a query go to the
    row that comes first in the training table.

    Args:
        scores: Table `scores`.
        k: Number of rows that count in each query.

    Returns:
        Training rows with at least one appearance, in descending order of `queries`. Columns:
        `train`; `queries`, the number of queries; `harmful_queries`, those of them in which the row
        is harmful.

    Examples:
        >>> scores = pl.LazyFrame(
        ...     {"query": [0, 0, 1, 1], "train": [7, 3, 7, 3],
        ...      "removal_effect": [-0.5, 0.1, 0.4, 0.2]}
        ... )
        >>> count_top_appearances(scores, k=1).collect().rows()
        [(7, 2, 1)]
    """
    ordered = fill_ranking_score(scores).sort(
        "query", RANKING.abs(), "train", descending=[False, True, False]
    )
    return (
        ordered.group_by("query", maintain_order=True)
        .head(k)
        .group_by("train")
        .agg(
            queries=pl.len().cast(pl.UInt32),
            harmful_queries=(RANKING < 0).sum().cast(pl.UInt32),
        )
        .sort(-pl.col("queries").cast(pl.Int64), "train")
    )


def sum_totals(totals: pl.LazyFrame) -> pl.LazyFrame:
    """Sum the removal effects of each training row over queries, most harmful first.

    Unlike `scores`, the table `totals` includes every score of a full scan, not only those that
    were kept. Filter it by `correct` or `group` first to sum over a slice.

    Args:
        totals: Table `totals`.

    Returns:
        Columns: `train`; `queries`, the number of queries; `removal_effect`, the sum (nats),
        ascending.

    Examples:
        >>> totals = pl.LazyFrame(
        ...     {"train": [7, 7, 3], "correct": [True, False, False], "queries": [4, 2, 2],
        ...      "removal_effect": [0.5, -1.0, 0.25]}
        ... )
        >>> sum_totals(totals).collect().rows()
        [(7, 6, -0.5), (3, 2, 0.25)]
    """
    sums = totals.group_by("train").agg(pl.col("queries").sum(), _EFFECT.sum())
    return sums.sort("removal_effect", "train")


def filter_slice(
    scores: pl.LazyFrame, queries: pl.LazyFrame, column: str, value: str | bool | None
) -> pl.LazyFrame:
    """Keep the rows of the queries with a given value in one column.

    Works on any table with a column `query`, and can be applied repeatedly.

    Args:
        scores: Table with a column `query`.
        queries: Table `queries`.
        column: Column of `queries`, such as "correct" or "group_region".
        value: Value of that column; None selects nulls.

    Examples:
        >>> queries = pl.LazyFrame({"query": [0, 1, 2], "correct": [True, False, False]})
        >>> scores = pl.LazyFrame({"query": [0, 1, 2], "train": [7, 3, 5]})
        >>> filter_slice(scores, queries, "correct", False).collect()["train"].to_list()
        [3, 5]
    """
    chosen = queries.filter(pl.col(column).eq_missing(pl.lit(value))).select("query")
    return scores.join(chosen, on="query", how="semi", maintain_order="left")


def find_worst_queries(queries: pl.LazyFrame, k: int) -> pl.LazyFrame:
    """Return the top-k queries by loss, highest first; queries without a loss come last.

    For a query without a label it is the loss at the predicted label.

    Args:
        queries: Table `queries`.
        k: Maximum number of queries.
    """
    loss = pl.col("loss")
    if "probability" in queries.collect_schema():
        at_prediction = -pl.col("probability").log()
        loss = pl.when(pl.col("label").is_null()).then(at_prediction).otherwise(loss)
    return queries.sort(loss, "query", descending=[True, False], nulls_last=True).head(k)


def find_quarantined(solves: pl.LazyFrame, queries: pl.LazyFrame) -> pl.LazyFrame:
    """Return the queries without scores and the reason for each.

    Args:
        solves: Table `solves`.
        queries: Table `queries`.

    Returns:
        Columns: `query`, `id`, `reason`; in the order of the queries.
    """
    ids = queries.select("query", "id")
    out = solves.filter(pl.col("reason").is_not_null()).select("query", "reason")
    return out.join(ids, on="query").select("query", "id", "reason").sort("query")


def join_examples(
    scores: pl.LazyFrame, train: pl.LazyFrame, columns: Sequence[str] = EXAMPLE_COLUMNS
) -> pl.LazyFrame:
    """Add columns of each training row to scores, as `train_id`, `train_text` and so on.

    Args:
        scores: Table with a column `train`; its order is kept.
        train: Table `train`.
        columns: Columns of `train` to add.

    Examples:
        >>> scores = pl.LazyFrame({"train": [1, 0], "removal_effect": [-0.5, 0.2]})
        >>> train = pl.LazyFrame({"train": [0, 1], "label": ["no", "yes"]})
        >>> join_examples(scores, train, columns=("label",)).collect().rows()
        [(1, -0.5, 'yes'), (0, 0.2, 'no')]
    """
    return _join_columns(scores, train, "train", columns)


def join_queries(
    scores: pl.LazyFrame, queries: pl.LazyFrame, columns: Sequence[str] = EXAMPLE_COLUMNS
) -> pl.LazyFrame:
    """Add columns of each query to scores, as `query_id`, `query_text` and so on.

    Args:
        scores: Table with a column `query`; its order is kept.
        queries: Table `queries`.
        columns: Columns of `queries` to add.
    """
    return _join_columns(scores, queries, "query", columns)


def _join_columns(
    rows: pl.LazyFrame, examples: pl.LazyFrame, key: str, columns: Sequence[str]
) -> pl.LazyFrame:
    renamed = examples.select(key, *(pl.col(name).alias(f"{key}_{name}") for name in columns))
    return rows.join(renamed, on=key, how="left", maintain_order="left")
