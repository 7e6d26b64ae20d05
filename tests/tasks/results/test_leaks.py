"""Leaked queries are reported in the summary, on the terminal and on the page."""

import polars as pl
import pytest

from tasks.results.leaks import count_leaked_queries, warn_leaks


def frame(rows):
    schema = {"text": pl.String, "text_pair": pl.String}
    return pl.LazyFrame({"text": [a for a, _ in rows], "text_pair": [b for _, b in rows]}, schema)


def test_leaks_are_verbatim_and_compare_both_texts_of_a_pair():
    train = [("a", None), ("a", None), ("b", "c"), ("d", "e")]
    queries = [("a", None), ("a", None), ("a", "c"), ("b", "c"), ("b", None), ("A", None)]
    assert count_leaked_queries(frame(queries), frame(train)) == 3
    assert count_leaked_queries(frame(queries), frame(train).drop("text", "text_pair")) == 0


@pytest.mark.parametrize(
    ("leaked", "queries", "num_alarms"), [(0, 5, 0), (1, 5, 1), (1, 200, 0), (2, 200, 1)]
)
def test_a_leaked_share_of_one_percent_is_reported(leaked, queries, num_alarms):
    alarms = list(warn_leaks(leaked, {"query_rows": queries}))
    assert len(alarms) == num_alarms
    assert all(f"{leaked} of {queries} queries are verbatim" in text for text in alarms)
