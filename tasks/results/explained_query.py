"""One query with the training examples that affect it most, and one example with its queries."""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from storage import (
    Store,
    find_affected_queries,
    find_most_harmful,
    find_most_helpful,
    join_examples,
    join_queries,
)
from storage.example_schemas import fill_measure
from tasks.results.evidence import Row
from tasks.results.span_text import find_scheme_of_run, name_spans

COLUMNS = ("id", "text", "text_pair", "label", "prediction")
TRAIN_COLUMNS = (*COLUMNS, "trained")
RANKING_LEGEND = (
    "score: the effect divided by a power of the training row's norm, or the gradient cosine (see "
    "'estimator chosen' in the summary); the rows of a query are ordered by it, since that order "
    "agrees best with retraining"
)
"""Sentence below rows with ranking scores."""


@dataclass(frozen=True)
class ExplainedQuery:
    """A query with its most harmful and most helpful training examples."""

    query: Row
    harmful: list[Row]
    helpful: list[Row]

    @property
    def has_ranking_scores(self) -> bool:
        """Whether the examples are ordered by ranking scores, not by removal effects."""
        return has_ranking_scores([*self.harmful, *self.helpful])


def has_ranking_scores(rows: Iterable[Row]) -> bool:
    """Return whether rows of the table `scores` have ranking scores."""
    return any(row["ranking_score"] is not None for row in rows)


def format_ranking_score(row: Row) -> str:
    """Format the ranking score of a row of the table `scores`; empty if its effect ranks.

    Examples:
        >>> format_ranking_score({"ranking_score": -0.0123})
        'score -0.0123'
    """
    score = row["ranking_score"]
    return "" if score is None else f"score {score:+.3g}"


def explain_query(store: Store, run: str, query: int, k: int) -> ExplainedQuery:
    """The k most harmful and the k most helpful training examples of one query."""
    scores, train = store.scan("scores", run), store.scan("train", run)
    queries = fill_measure(store.scan("queries", run))
    scheme = find_scheme_of_run(store.read_record(run))
    row = name_spans(queries.filter(pl.col("query") == query).collect(), scheme).to_dicts()[0]
    solve = store.scan("solves", run).filter(pl.col("query") == query).collect().to_dicts()[0]
    examples = [
        join_examples(select_rows(scores, query, k), train, TRAIN_COLUMNS).collect()
        for select_rows in (find_most_harmful, find_most_helpful)
    ]
    rows = [name_spans(frame, scheme, "train_").to_dicts() for frame in examples]
    return ExplainedQuery(row | solve, *rows)


def trace_example(store: Store, run: str, train: int, k: int) -> tuple[Row, list[Row]]:
    """Return a training example and the k queries that it affects most."""
    scheme = find_scheme_of_run(store.read_record(run))
    example = store.scan("train", run).filter(pl.col("train") == train).collect()
    row = name_spans(example, scheme).to_dicts()[0]
    affected = find_affected_queries(store.scan("scores", run), train)
    queries = fill_measure(store.scan("queries", run))
    rows = join_queries(affected.head(k), queries, (*COLUMNS, "measure"))
    return row, name_spans(rows.collect(), scheme, "query_").to_dicts()
