"""Queries compared with implementations in plain Python."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import QUERIES, SHARDS, frame, queries, scores, solves, train

from storage import (
    count_top_appearances,
    filter_slice,
    find_affected_queries,
    find_most_harmful,
    find_most_helpful,
    find_quarantined,
    find_worst_queries,
    join_examples,
    join_queries,
    rank_harmful_rows,
)
from storage.schemas import SCORES

# Few distinct values, so that ties and zeros are frequent.
EFFECTS = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 2.0])
TABLE = st.lists(st.dictionaries(st.integers(0, 7), EFFECTS, max_size=6), max_size=5)
# Scales of the eight training rows in the ranking score; None where effects rank.
SCALES = st.none() | st.lists(st.sampled_from([0.125, 0.5, 1.0, 4.0]), min_size=8, max_size=8)


def rows_of(table, scales=None):
    """Rows of the schema's columns from one {train: effect} a query."""
    rows = []
    for query, effects in enumerate(table):
        numbers = {row: effect * (scales[row] if scales else 1) for row, effect in effects.items()}
        for rank, row in enumerate(sorted(effects, key=lambda row: (numbers[row], row))):
            ranking_score = numbers[row] if scales else None
            rows.append((query, row, rank, effects[row], None, None, ranking_score))
    return rows


@settings(max_examples=60, deadline=None)
@given(TABLE, SCALES, st.integers(0, 5), st.integers(1, 4))
def test_top_rows_of_a_query(table, scales, query, k):
    rows = rows_of(table, scales)
    lazy = frame(SCORES, rows).lazy()
    query_rows = [row for row in rows if row[0] == query]
    harmful = [row for row in query_rows if row[3] < 0][:k]
    helpful = [row for row in reversed(query_rows) if row[3] > 0][:k]
    assert find_most_harmful(lazy, query, k).collect().rows() == harmful
    assert find_most_helpful(lazy, query, k).collect().rows() == helpful


@settings(max_examples=60, deadline=None)
@given(TABLE, st.integers(0, 7))
def test_affected_queries_of_a_training_row(table, train_row):
    rows = rows_of(table)
    expected = sorted((r for r in rows if r[1] == train_row), key=lambda r: (-abs(r[3]), r[0]))
    assert find_affected_queries(frame(SCORES, rows).lazy(), train_row).collect().rows() == expected


def rank_by_harm(rows, k):
    summaries = []
    for train_row in {row[1] for row in rows}:
        effects = [row[3] for row in rows if row[1] == train_row]
        bad = [effect for effect in effects if effect < 0]
        if bad:
            mean = sum(effects) / len(effects)
            summaries.append((train_row, sum(bad), len(bad), len(effects), mean))
    return sorted(summaries, key=lambda row: (row[1], row[0]))[:k]


@settings(max_examples=60, deadline=None)
@given(
    TABLE, st.integers(1, 5), st.lists(st.sampled_from(["a", "b", None]), min_size=5, max_size=5)
)
def test_most_harmful_rows_of_a_run_and_of_a_slice(table, k, labels):
    rows = rows_of(table)
    lazy = frame(SCORES, rows).lazy()
    slices = pl.LazyFrame(
        {"query": range(5), "group_suite": labels},
        schema={"query": pl.UInt32, "group_suite": pl.String},
    )
    actual = rank_harmful_rows(lazy, k).collect()
    assert actual.columns[1:] == ["harmful_effect", "harmful_queries", "appearances", "mean_effect"]
    assert [pytest.approx(row) for row in rank_by_harm(rows, k)] == actual.rows()
    for value in ("a", "b", None):
        chosen = [row for row in rows if labels[row[0]] == value]
        sliced = filter_slice(lazy, slices, "group_suite", value)
        assert sliced.collect().rows() == chosen
        expected = [pytest.approx(row) for row in rank_by_harm(chosen, k)]
        assert expected == rank_harmful_rows(sliced, k).collect().rows()


@settings(max_examples=60, deadline=None)
@given(TABLE, SCALES, st.integers(1, 4))
def test_count_of_appearances_in_the_top_k(table, scales, k):
    rows, count, harmful, scale = rows_of(table, scales), {}, {}, scales or [1.0] * 8
    for effects in table:
        top = sorted(effects, key=lambda row: (-abs(effects[row] * scale[row]), row))[:k]
        for row in top:
            count[row] = count.get(row, 0) + 1
            harmful[row] = harmful.get(row, 0) + (effects[row] < 0)
    expected = [(row, count[row], harmful[row]) for row in count]
    expected.sort(key=lambda item: (-item[1], item[0]))
    assert count_top_appearances(frame(SCORES, rows).lazy(), k).collect().rows() == expected
    if scales is None:  # a file of an earlier version has no such column
        exported = frame(SCORES, rows).drop("ranking_score").lazy()
        assert count_top_appearances(exported, k).collect().rows() == expected


def test_sums_do_not_lose_small_effects_beside_large_ones():
    rows = [(0, 1, 0, -(2.0**24), None, None, None)]
    rows += [(q, 1, 0, -1.0, None, None, None) for q in range(1, 101)]
    actual = rank_harmful_rows(frame(SCORES, rows).lazy(), 1).collect()
    assert actual["harmful_effect"].item() == -(2.0**24) - 100


def test_a_slice_by_a_boolean_column():
    table = pl.concat(queries(shard) for shard in SHARDS).lazy()
    made = pl.concat(scores(shard) for shard in SHARDS).lazy()
    assert filter_slice(made, table, "correct", True).collect().is_empty()
    assert filter_slice(made, table, "correct", False).collect().equals(made.collect())
    assert filter_slice(table, table, "group_suite", "suite 1").collect()["query"].to_list() == [
        query for query in range(QUERIES) if query % 3 == 1
    ]


def test_examples_are_joined_by_position_and_keep_the_order():
    made = scores(SHARDS[0]).reverse().lazy()
    joined = join_queries(
        join_examples(made, train().lazy()), queries(SHARDS[0]).lazy(), ["id", "loss"]
    ).collect()
    names = ["train_id", "train_text", "train_text_pair", "train_label", "query_id", "query_loss"]
    assert joined.columns == [*SCORES.names, *names]
    assert joined.select(SCORES.names).equals(made.collect())
    for row in joined.iter_rows(named=True):
        assert row["train_id"] == f"t{row['train']}"
        assert row["train_text"] == f"text {row['train']}"
        assert row["train_text_pair"] == f"pair {row['train']}"
        assert row["train_label"] == "no"
        assert row["query_id"] == f"q{row['query']}"
        assert row["query_loss"] == row["query"]


def test_the_worst_queries_have_the_highest_loss():
    table = pl.concat(queries(shard) for shard in SHARDS).lazy()
    top = find_worst_queries(table, 3).collect()
    assert top["query"].to_list() == [QUERIES - 1, QUERIES - 2, QUERIES - 3]
    tied = table.with_columns(loss=pl.lit(1.0, pl.Float32)).reverse()
    assert find_worst_queries(tied, 3).collect()["query"].to_list() == [0, 1, 2]


def test_queries_without_a_loss_come_last():
    table = pl.concat(queries(shard) for shard in SHARDS).lazy()
    lost = pl.when(pl.col("query") > 2).then(None).otherwise("loss").alias("loss")
    actual = find_worst_queries(table.with_columns(lost), 5).collect()["query"].to_list()
    assert actual == [2, 1, 0, 3, 4]


def test_quarantined_queries_with_their_reasons():
    solved = pl.concat(solves(shard) for shard in reversed(SHARDS)).lazy()
    table = pl.concat(queries(shard) for shard in SHARDS).lazy()
    actual = find_quarantined(solved, table).collect()
    assert actual.columns == ["query", "id", "reason"]
    why = "Its gradient is not finite."
    assert actual.rows() == [(query, f"q{query}", why) for query in (3, 13, 23, 33)]
