"""Queries of highest loss with their most harmful and most helpful training rows."""

from dataclasses import dataclass

import polars as pl

from storage import find_worst_queries
from tasks.report.causes import Cause, find_causes
from tasks.report.duplicates import Duplicates
from tasks.report.formatting import Row, index_rows
from tasks.report.run_data import RunData

WORST, EACH = 60, 3


@dataclass(frozen=True)
class QueryCase:
    """A query with its most influential training rows.

    Attributes:
        query: Row of the query.
        harmful: Training rows with negative effect, the most harmful first by `rank`.
        helpful: Training rows with positive effect, the most helpful first by `rank`.
        causes: Properties that the most harmful rows have in common.
    """

    query: Row
    harmful: list[Row]
    helpful: list[Row]
    causes: list[Cause]

    @property
    def value(self) -> str:
        """Value of the measure in words."""
        value = self.query["measure_value"]
        return "not finite" if value is None else f"{value:.2f}"


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
        causes = list(find_causes(data, duplicates, harmful))
        query_cases.append(QueryCase(query, harmful[:EACH], helpful[:EACH], causes))
    return query_cases


def find_most_harmful(data: RunData, count: int = 100) -> list[Row]:
    """Training rows with the largest summed harm over all queries, the most harmful first."""
    worst = (
        data.harm.filter(pl.col("harm") > 0)
        .sort("harm", "train", descending=[True, False])
        .head(count)
    )
    return worst.join(data.train, on="train", how="left", maintain_order="left").to_dicts()
