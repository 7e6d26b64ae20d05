"""Leaked queries: those that are training rows, verbatim."""

from collections.abc import Iterator

import polars as pl

from tasks.results.diagnostics import MAX_LEAKED_SHARE
from tasks.results.evidence import Row, parse_count


def count_leaked_queries(queries: pl.LazyFrame, train: pl.LazyFrame) -> int:
    """Number of queries that are training rows, verbatim; 0 where a run holds no texts."""
    if "text" not in train.collect_schema().names():
        return 0
    content, rows = ["text", "text_pair"], train.select("text", "text_pair")
    leaked = queries.select(content).join(rows, on=content, how="semi", nulls_equal=True)
    return int(leaked.select(pl.len()).collect().item())


def warn_leaks(leaked: int, facts: Row) -> Iterator[str]:
    """Warn of leaked queries if their share makes the accuracy unreliable."""
    if facts and leaked >= max(1.0, MAX_LEAKED_SHARE * parse_count(facts["query_rows"])):
        yield (
            f"{leaked:,} of {parse_count(facts['query_rows']):,} queries are verbatim training "
            "rows: accuracy on them is no evidence for new data, and their most helpful training "
            "row is their own copy."
        )
