"""Rows for review in the order of the expected gain of their clusters."""

import polars as pl

from tasks.mislabels.results import MislabelResult
from tasks.mislabels.review_export import make_review_frame
from tests.tasks.mislabels.annotated_store import ROWS, make_detection


def order_by_gain(gain, budget=10, **columns):
    result = MislabelResult(make_detection(**columns), {})
    return make_review_frame(result, budget, None, pl.Series(gain, dtype=pl.Float64))


def test_rows_are_sorted_by_gain_and_then_by_rank():
    assert order_by_gain([0.1, 0.3, -0.2, 0.3, 0.0])["id"].to_list() == list("bdaec")
    assert order_by_gain([0.1, 0.3, -0.2, 0.3, 0.0], 2)["id"].to_list() == ["b", "d"]


def test_a_cluster_counts_with_all_its_unreviewed_rows():
    clusters = [0, 1, 0, 2, 0]
    frame = order_by_gain([0.1, 0.25, 0.1, 0.2, 0.1], cluster=clusters)
    assert frame["id"].to_list() == ["a", "b", "d"]
    assert frame["alike"].to_list() == [3, 1, 1]
    table = make_detection(cluster=clusters)
    is_reviewed = pl.col("id") == "c"
    table = table.with_columns(reviewed=pl.when(is_reviewed).then(pl.lit("cat")))
    gain = pl.Series([0.1, 0.25, 0.1, 0.2, 0.1])
    rest = make_review_frame(MislabelResult(table, {}), 10, None, gain)
    assert rest["id"].to_list() == ["b", "a", "d"]


def test_rows_of_unknown_gain_are_last():
    frame = order_by_gain([-0.5, 0.4, 0.1, None, 0.2], probability=[0.9, 0.0, 0.5, None, 0.01])
    assert frame["id"].to_list() == ["b", "e", "c", "a", "d"]


def test_without_a_gain_the_order_is_the_rank_and_columns_are_equal():
    plain = make_review_frame(MislabelResult(make_detection(), {}), 10)
    assert plain["id"].to_list() == [row[0] for row in ROWS]
    assert order_by_gain([0.0] * 5).equals(plain)
