"""Commits: tables round-trip, and invalid frames are refused."""

import math

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from store_samples import GROUPS, KEPT, RUN, SHARDS, frame, record, runs, scores, tables, train

from storage import StoreError, polars_schema
from storage.fields import CONVENTION
from storage.schemas import SCORES, TABLES, table_schema

FIRST = SHARDS[0]


def files(store):
    return sorted(path for path in store.layout.root.rglob("*") if path.is_file())


def test_every_table_round_trips(store):
    store.commit(RUN, FIRST.key, tables(FIRST))
    store.commit(RUN, "train", {"train": train()})
    store.commit(RUN, "finish", {"runs": runs()})
    expected = tables(FIRST) | {"train": train(), "runs": runs()}
    assert set(expected) == set(TABLES)
    for table, put in expected.items():
        assert_frame_equal(store.scan(table, RUN).collect(), put)


def test_shards_are_read_in_order_whatever_the_order_of_commits(store):
    for shard in reversed(SHARDS):
        store.commit(RUN, shard.key, tables(shard))
    put = pl.concat(scores(shard) for shard in SHARDS)
    assert_frame_equal(store.scan("scores", RUN).collect(), put)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_without_commits_is_empty_with_its_columns(store, table):
    empty = store.scan(table, RUN).collect()
    assert empty.is_empty()
    assert empty.schema == polars_schema(table_schema(table))


def test_files_carry_the_sign_convention_and_column_descriptions(store):
    commit = store.commit(RUN, FIRST.key, tables(FIRST))
    assert {file.table for file in commit.files} == {"scores", "solves", "queries", "totals"}
    for file in commit.files:
        schema = pq.read_schema(store.layout.root / file.path)
        assert schema.equals(table_schema(file.table, GROUPS), check_metadata=False)
        assert schema.metadata[b"fastif.format"] == b"2"
        assert schema.metadata[b"fastif.table"] == file.table.encode()
        assert schema.metadata[b"fastif.convention"].decode() == CONVENTION
    assert "nats" in CONVENTION
    assert "positive" in CONVENTION
    effect = pq.read_schema(store.layout.root / commit.files[0].path).field("removal_effect")
    assert effect.metadata[b"unit"] == b"nats; logits for a margin"


def test_scores_use_the_small_encodings(store):
    commit = store.commit(RUN, FIRST.key, {"scores": scores(FIRST)})
    group = pq.read_metadata(store.layout.root / commit.files[0].path).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert "RLE_DICTIONARY" in columns["query"].encodings
    assert "DELTA_BINARY_PACKED" in columns["train"].encodings
    assert "DELTA_BINARY_PACKED" in columns["rank"].encodings
    assert "BYTE_STREAM_SPLIT" in columns["removal_effect"].encodings
    assert {column.compression for column in columns.values()} == {"ZSTD"}


def test_the_order_of_columns_does_not_matter(store):
    put = scores(FIRST)
    store.commit(RUN, FIRST.key, {"scores": put.select(reversed(put.columns))})
    assert_frame_equal(store.scan("scores", RUN).collect(), put)


def test_committing_equal_rows_again_writes_no_new_file(store):
    store.commit(RUN, FIRST.key, tables(FIRST))
    before = files(store)
    store.commit(RUN, FIRST.key, tables(FIRST))
    assert files(store) == before


def test_a_later_commit_replaces_the_earlier_one(store):
    store.commit(RUN, FIRST.key, tables(FIRST, writer=0))
    store.commit(RUN, FIRST.key, tables(FIRST, writer=1))
    for table, put in tables(FIRST, writer=1).items():
        assert_frame_equal(store.scan(table, RUN).collect(), put)


def test_a_lazy_frame_keeps_the_rows_of_its_scan(store):
    store.commit(RUN, FIRST.key, tables(FIRST, writer=0))
    begun = store.scan("scores", RUN)
    store.commit(RUN, FIRST.key, tables(FIRST, writer=1))
    assert_frame_equal(begun.collect(), scores(FIRST, writer=0))


effect = pl.col("removal_effect")
BAD_SCORES = {
    "a column is missing": (lambda f: f.drop("rank"), "rank missing"),
    "an extra column": (lambda f: f.with_columns(extra=1), "extra"),
    "another type": (lambda f: f.with_columns(pl.col("query").cast(pl.Int64)), "query Int64"),
    "float64": (lambda f: f.with_columns(effect.cast(pl.Float64)), "removal_effect Float64"),
    "NaN": (lambda f: f.with_columns(effect * math.nan), "nan"),
    "infinite": (lambda f: f.with_columns(effect + math.inf), "inf"),
    "NaN spread": (lambda f: f.with_columns(pl.col("spread") * math.nan), "spread"),
    "NaN distance": (lambda f: f.with_columns(pl.col("distance") * math.nan), "distance"),
    "null": (lambda f: f.with_columns(effect.replace(f["removal_effect"][3], None)), "1 nulls"),
    "descending": (lambda f: f.with_columns(-effect), "out of order"),
    "unsorted": (lambda f: f.reverse(), "out of order"),
    "ranked by the effect, not by the ranking score": (
        lambda f: f.with_columns(ranking_score=-effect),
        "ranking_score .* out of order",
    ),
    "a query with ranking scores of some rows": (
        lambda f: f.with_columns(ranking_score=pl.when(pl.col("rank") != 3).then(effect)),
        "out of order",
    ),
    "NaN ranking score": (lambda f: f.with_columns(ranking_score=effect * math.nan), "nan"),
    "a missing rank": (lambda f: f.filter(pl.col("rank") != 2), "rank 3"),
    "ranks from 1": (lambda f: f.with_columns(pl.col("rank") + 1), "rank 1"),
    "queries out of order": (
        lambda f: f.with_columns(query=pl.lit(3, pl.UInt32) - pl.col("query")),
        "out of order",
    ),
    "a repeated pair": (
        lambda f: f.with_columns(
            pl.when(pl.col("rank") == 1).then(pl.col("train").shift()).otherwise("train")
        ),
        "more than once",
    ),
    "a query of another shard": (lambda f: f.with_columns(pl.col("query") + 1), "query in 0..3"),
    "a row beyond the training table": (lambda f: f.with_columns(pl.col("train") + 25), "in 0..29"),
}


@pytest.mark.parametrize("change", BAD_SCORES)
def test_an_invalid_frame_is_refused_and_nothing_written(store, change):
    wrong, message = BAD_SCORES[change]
    before = files(store)
    made = tables(FIRST)
    # The invalid table comes last: the valid ones before it must not be written either.
    made = {"solves": made["solves"], "scores": made["scores"].pipe(wrong)}
    with pytest.raises(StoreError, match=message) as caught:
        store.commit(RUN, FIRST.key, made)
    assert "table scores of run first, 00000" in str(caught.value)
    assert files(store) == before
    assert not store.is_committed(RUN, FIRST.key)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_solve_that_is_not_finite_is_refused(store, value):
    made = tables(FIRST)["solves"].with_columns(residual=pl.lit(value, pl.Float32))
    with pytest.raises(StoreError, match="finite numbers in column residual"):
        store.commit(RUN, FIRST.key, {"solves": made})


@pytest.mark.parametrize(
    ("run", "key", "table"),
    [
        (RUN, "00099", "scores"),
        (RUN, "../out", "scores"),
        (RUN, "00000", "score"),
        ("second", "00000", "scores"),
        ("../first", "00000", "scores"),
    ],
)
def test_a_commit_of_an_unknown_run_key_or_table_is_refused(store, run, key, table):
    before = files(store)
    with pytest.raises(StoreError):
        store.commit(run, key, {table: scores(FIRST)})
    assert files(store) == before


def test_group_columns_missing_in_a_shard_are_null(store):
    first, second = SHARDS[:2]
    bare = tables(first)["queries"].drop("group_suite", "group_heuristic")
    store.commit(RUN, first.key, {"queries": bare})
    store.commit(RUN, second.key, tables(second))
    actual = store.scan("queries", RUN).collect()
    assert actual.schema == polars_schema(table_schema("queries", GROUPS))
    assert actual["group_suite"].to_list()[: len(first)] == [None] * len(first)
    assert_frame_equal(actual.tail(len(second)), tables(second)["queries"])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=30))
def test_any_finite_effect_round_trips(store, effects):
    rows = [(0, i, i, value, None, None, None) for i, value in enumerate(sorted(effects))]
    put = frame(SCORES, rows)
    store.commit(RUN, FIRST.key, {"scores": put})
    assert_frame_equal(store.scan("scores", RUN).collect(), put, check_exact=True)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.floats(-9, 9, width=32), st.sampled_from([0.5, 2.0])), max_size=30))
def test_ranking_scores_order_the_rows_and_round_trip(store, pairs):
    pairs.sort(key=lambda pair: pair[0] * pair[1])
    rows = [(0, i, i, value, None, None, value * scale) for i, (value, scale) in enumerate(pairs)]
    put = frame(SCORES, rows)
    store.commit(RUN, FIRST.key, {"scores": put})
    assert_frame_equal(store.scan("scores", RUN).collect(), put, check_exact=True)


def test_two_runs_are_isolated(store):
    store.open_run(record("second", damping=0.2))
    store.commit(RUN, FIRST.key, tables(FIRST, 0))
    store.commit("second", FIRST.key, tables(FIRST, 1))
    assert_frame_equal(store.scan("scores", RUN).collect(), scores(FIRST, 0))
    assert_frame_equal(store.scan("scores", "second").collect(), scores(FIRST, 1))
    assert store.scan("scores", RUN).select(pl.len()).collect().item() == len(FIRST) * KEPT
