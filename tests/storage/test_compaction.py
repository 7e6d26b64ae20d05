"""One file a table in place of one a shard: the same rows, at once or not at all."""

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


def test_the_same_rows_in_one_file(either):
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
    assert either.compact(RUN) is None, "it is so already"


def test_without_its_file_the_shards_are_read_again(store):
    finish(store, RUN)
    before = read_tables(store)
    commit = store.compact(RUN)
    (store.layout.root / commit.files[0].path).unlink()
    for name, rows in read_tables(store).items():
        assert_frame_equal(rows, before[name])
    assert store.find_missing(RUN, SHARDS) == []


def test_a_run_in_work_is_refused(store):
    for shard in SHARDS[:-1]:
        store.commit(RUN, shard.key, tables(shard))
    with pytest.raises(StoreError, match="a finished run"):
        store.compact(RUN)


def test_sums_are_added_up_over_shards_and_slices_stay(store):
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
