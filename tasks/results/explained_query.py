"""One query with the training examples that affect it most, and one example with its queries."""

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
from tasks.results.evidence import Row

COLUMNS = ("id", "text", "text_pair", "label", "prediction")
TRAIN_COLUMNS = (*COLUMNS, "trained")


@dataclass(frozen=True)
class ExplainedQuery:
    """A query with its most harmful and most helpful training examples."""

    query: Row
    harmful: list[Row]
    helpful: list[Row]


def explain_query(store: Store, run: str, query: int, k: int) -> ExplainedQuery:
    """The k most harmful and the k most helpful training examples of one query."""
    scores, train = store.scan("scores", run), store.scan("train", run)
    row = store.scan("queries", run).filter(pl.col("query") == query).collect().to_dicts()[0]
    solve = store.scan("solves", run).filter(pl.col("query") == query).collect().to_dicts()[0]
    examples = [
        join_examples(select_rows(scores, query, k), train, TRAIN_COLUMNS).collect().to_dicts()
        for select_rows in (find_most_harmful, find_most_helpful)
    ]
    return ExplainedQuery(row | solve, *examples)


def trace_example(store: Store, run: str, train: int, k: int) -> tuple[Row, list[Row]]:
    """Return a training example and the k queries that it affects most."""
    row = store.scan("train", run).filter(pl.col("train") == train).collect().to_dicts()[0]
    affected = find_affected_queries(store.scan("scores", run), train)
    rows = join_queries(affected.head(k), store.scan("queries", run), COLUMNS)
    return row, rows.collect().to_dicts()
