"""The worst queries, and which training rows moved them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from scipy.stats import binomtest

from storage import worst_queries
from tasks.report.duplicates import Duplicates
from tasks.report.formatting import Row, examples
from tasks.report.run_data import Night
from tasks.results.group_names import name_of

WORST, EACH, COMMON = 60, 3, 10
SURE = 0.01
"""A share is told if it would be as large by chance as seldom as this."""


@dataclass(frozen=True)
class Case:
    """A query and its evidence.

    Attributes:
        query: the row.
        harmful: training rows with their effect, worst first.
        helpful: likewise, best first.
        common: what the most harmful rows have in common, in words.
    """

    query: Row
    harmful: list[Row]
    helpful: list[Row]
    common: list[str]


def cases(night: Night, duplicates: Duplicates) -> list[Case]:
    """The worst queries of a night with their most harmful and most helpful rows."""
    worst = worst_queries(night.queries.lazy(), WORST).collect()
    chosen = night.scores.join(worst.select("query"), on="query", how="semi").sort("query", "rank")
    by_query = chosen.partition_by("query", as_dict=True)
    train = examples(night.train, "train")
    found = []
    for query in worst.iter_rows(named=True):
        rows = by_query.get((query["query"],))
        known = [] if rows is None else list(rows.iter_rows(named=True))
        told = [train[row["train"]] | {"effect": row["removal_effect"]} for row in known]
        harmful = [row for row in told if row["effect"] < 0]
        helpful = [row for row in reversed(told) if row["effect"] > 0]
        common = list(_common(night, duplicates, harmful[:COMMON]))
        found.append(Case(query, harmful[:EACH], helpful[:EACH], common))
    return found


def _common(night: Night, duplicates: Duplicates, rows: list[Row]) -> Iterator[str]:
    if len(rows) < COMMON:
        return
    for column in dict.fromkeys(("label", night.source)):
        value, times = Counter(row[column] for row in rows).most_common(1)[0]
        base = float((night.train[column] == value).mean() or 0.0) if value is not None else 1.0
        if base < 1 and binomtest(times, len(rows), base, alternative="greater").pvalue < SURE:
            name = column.removeprefix("group_")
            shared = f"{name} {name_of(value)} ({base:.0%} of all)"
            yield f"{times} of the {len(rows)} most harmful are {shared}"
    clusters = Counter(duplicates.cluster[int(str(row["train"]))] for row in rows)
    cluster, times = clusters.most_common(1)[0]
    if times > 1 and cluster >= 0:
        yield f"{times} of them are near-duplicates of each other"


def offenders(night: Night, count: int = 100) -> list[Row]:
    """Training rows that do most harm over all queries, worst first."""
    worst = night.harm.filter(pl.col("harm") < 0).sort("harm", "train").head(count)
    return worst.join(night.train, on="train", how="left", maintain_order="left").to_dicts()
