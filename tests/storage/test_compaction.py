"""Compaction: one file a table replaces those of the shards, atomically and with equal rows."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from store_samples import RUN, SHARDS, tables
from test_store import finish

from storage import StoreError, sum_totals

TABLES = ("scores", "solves", "queries", "runs")


def read_tables(store):
    return {name: store.scan(name, RUN).collect() for name in TABLES}


def files(store, table):
    return store.scan(table, RUN).collect().height, len(store._list_table_files(table, RUN))


def test_compaction_keeps_the_rows_in_one_file(either):
    finish(either, RUN)
    before, sums = read_tables(either), sum_totals(either.scan("totals", RUN)).collect()
    assert files(either, "scores")[1] == len(SHARDS)
    assert either.compact(RUN) is not None
    assert files(either, "scores")[1] == files(either, "totals")[1] == 1
    for name, rows in read_tables(either).items():
        assert_frame_equal(rows, before[name])
    assert_frame_equal(sum_totals(either.scan("totals", RUN)).collect(), sums)
    assert either.verify(RUN) == []
    assert either.find_missing(RUN, SHARDS) == []
    assert either.list_runs()[0].finished
    assert either.compact(RUN) is None, "it is compact already"


def test_shards_are_read_again_if_the_compact_file_is_lost(store):
    finish(store, RUN)
    before = read_tables(store)
    commit = store.compact(RUN)
    (store.layout.root / commit.files[0].path).unlink()
    for name, rows in read_tables(store).items():
        assert_frame_equal(rows, before[name])
    assert store.find_missing(RUN, SHARDS) == []


def test_compaction_of_an_unfinished_run_is_refused(store):
    for shard in SHARDS[:-1]:
        store.commit(RUN, shard.key, tables(shard))
    with pytest.raises(StoreError, match="a finished run"):
        store.compact(RUN)


def test_totals_are_summed_over_shards_by_slice(store):
    finish(store, RUN)
    keys = ["train", "correct", "group"]
    expected = (
        store.scan("totals", RUN)
        .collect()
        .group_by(keys)
        .agg(pl.col("queries", "removal_effect").sum())
    )
    store.compact(RUN)
    actual = store.scan("totals", RUN).collect()
    assert actual.height == expected.height < len(SHARDS) * expected.height
    both = actual.join(expected, on=keys, nulls_equal=True)
    assert both.height == actual.height
    assert (both["queries"] == both["queries_right"]).all()
    assert ((both["removal_effect"] - both["removal_effect_right"]).abs() < 1e-12).all()
