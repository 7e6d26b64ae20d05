"""Queries of highest loss with their most harmful and most helpful training rows."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from scipy.stats import binomtest

from storage import find_worst_queries
from tasks.report.duplicates import Duplicates
from tasks.report.formatting import Row, index_rows
from tasks.report.run_data import RunData
from tasks.results.group_names import format_group_value

WORST, EACH, COMMON = 60, 3, 10
MAX_P_VALUE = 0.01
"""Largest p-value (binomial test) at which a shared property of harmful rows is reported."""


@dataclass(frozen=True)
class QueryCase:
    """A query with its most influential training rows.

    Attributes:
        query: Row of the query.
        harmful: Training rows with negative effect, the most harmful first by `rank`.
        helpful: Training rows with positive effect, the most helpful first by `rank`.
        shared_properties: Sentences on what the most harmful rows have in common.
    """

    query: Row
    harmful: list[Row]
    helpful: list[Row]
    shared_properties: list[str]


def make_query_cases(data: RunData, duplicates: Duplicates) -> list[QueryCase]:
    """List the worst queries of a run with their most harmful and most helpful rows."""
    worst = find_worst_queries(data.queries.lazy(), WORST).collect()
    scores = data.scores.join(worst.select("query"), on="query", how="semi").sort("query", "rank")
    by_query = scores.partition_by("query", as_dict=True)
    train = index_rows(data.train, "train")
    query_cases = []
    for query in worst.iter_rows(named=True):
        rows = by_query.get((query["query"],))
        query_scores = [] if rows is None else list(rows.iter_rows(named=True))
        ranked = [
            train[row["train"]]
            | {"effect": row["removal_effect"], "ranking_score": row["ranking_score"]}
            for row in query_scores
        ]
        harmful = [row for row in ranked if row["effect"] < 0]
        helpful = [row for row in reversed(ranked) if row["effect"] > 0]
        shared = list(_describe_shared(data, duplicates, harmful[:COMMON]))
        query_cases.append(QueryCase(query, harmful[:EACH], helpful[:EACH], shared))
    return query_cases


def _describe_shared(data: RunData, duplicates: Duplicates, rows: list[Row]) -> Iterator[str]:
    if len(rows) < COMMON:
        return
    for column in dict.fromkeys(("label", data.source_column)):
        value, count = Counter(row[column] for row in rows).most_common(1)[0]
        base = float((data.train[column] == value).mean() or 0.0) if value is not None else 1.0
        if (
            base < 1
            and binomtest(count, len(rows), base, alternative="greater").pvalue < MAX_P_VALUE
        ):
            name = column.removeprefix("group_")
            shared = f"{name} {format_group_value(value)} ({base:.0%} of all rows do)"
            yield f"{count} of the {len(rows)} most harmful rows have {shared}"
    clusters = Counter(duplicates.cluster[int(str(row["train"]))] for row in rows)
    cluster, count = clusters.most_common(1)[0]
    if count > 1 and cluster >= 0:
        yield f"{count} of them are near-duplicates of each other"


def find_most_harmful(data: RunData, count: int = 100) -> list[Row]:
    """Training rows with the largest summed harm over all queries, the most harmful first."""
    worst = (
        data.harm.filter(pl.col("harm") > 0)
        .sort("harm", "train", descending=[True, False])
        .head(count)
    )
    return worst.join(data.train, on="train", how="left", maintain_order="left").to_dicts()
