"""Pairs of runs between which no change can be attributed are refused with a sentence."""

import polars as pl
import pytest
from handmade_runs import Row, open_store, write_run

from fastif import InputError
from storage import RunRecord
from tasks.bisection.bisect_runs import bisect_runs

TRAIN = [Row(f"r{i}", f"text {i}", "ab"[i % 2]) for i in range(4)]
QUERIES = [Row(f"q{i}", f"query {i}", groups={"part": "xy"[i % 2]}) for i in range(4)]


def pair(folder, queries=QUERIES, **parts):
    """Two runs that can be bisected, unless something is changed in the later one."""
    store = open_store(folder)
    write_run(store, "one", TRAIN, QUERIES, model="m1", labels=["a", "b"])
    later = {"model": "m2", "labels": ["a", "b"], **parts}
    write_run(store, "two", [*TRAIN, Row("new", "a new text")], queries, **later)
    return store


def test_two_runs_with_added_rows_are_bisected(tmp_path):
    assert len(bisect_runs(pair(tmp_path), "one", "two").contributions) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "m1"}, "the same model in both, so no loss changed"),
        ({"labels": ["a", "b", "c"]}, "expected equal labels; got a, b and then a, b, c"),
        ({"queries": [Row("p", "other")]}, "no query in common"),
        ({"queries": [Row("q0", "query 0", "c"), Row("q9", "other")]}, "no query in common"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        bisect_runs(pair(tmp_path, **changes), "one", "two")


def test_one_run_is_not_compared_with_itself(tmp_path):
    with pytest.raises(InputError, match="expected two runs; got one run twice"):
        bisect_runs(pair(tmp_path), "two", "two")


def test_another_number_of_parameters_is_another_architecture(tmp_path):
    store = pair(tmp_path)
    facts = store.scan("runs", "two").collect()
    store.commit("two", "finish", {"runs": facts.with_columns(parameters=pl.lit(9, pl.UInt64))})
    with pytest.raises(InputError, match="models of one architecture; got 0 and 9 attributed"):
        bisect_runs(store, "one", "two")


def test_an_unfinished_run_is_refused(tmp_path):
    store = pair(tmp_path)
    record = store.read_record("two")
    begun = RunRecord(**{**vars(record), "run": "begun", "fingerprint": "f" * 64})
    store.open_run(begun)
    store.commit("begun", "train", {"train": store.scan("train", "two").collect()})
    with pytest.raises(InputError, match="expected a finished run; got 0 of 1 shards"):
        bisect_runs(store, "one", "begun")


def test_an_unknown_slice_lists_those_that_exist(tmp_path):
    store = pair(tmp_path)
    with pytest.raises(InputError, match="expected a part: x, y; got z"):
        bisect_runs(store, "one", "two", "z")
    plain = open_store(tmp_path / "plain")
    for name in ("one", "two"):
        write_run(plain, name, TRAIN, [Row("q", "query")], model=name)
    with pytest.raises(InputError, match="a group column of the queries; got none"):
        bisect_runs(plain, "one", "two", "x")


def test_a_slice_without_common_queries_is_refused(tmp_path):
    queries = [QUERIES[0], Row("q9", "a new query", groups={"part": "y"})]
    with pytest.raises(InputError, match="none of its 1 queries is in run one"):
        bisect_runs(pair(tmp_path, queries=queries), "one", "two", "y")


def test_quarantined_queries_are_left_out_and_counted(tmp_path):
    store = pair(tmp_path)
    kept = store.scan("solves", "two").collect()
    is_lost = pl.col("query") == 1
    reason = pl.when(is_lost).then(pl.lit("not solved"))
    tables = {name: store.scan(name, "two").collect() for name in ("queries", "scores")}
    tables["scores"] = tables["scores"].filter(~is_lost)
    store.commit("two", "00000", {**tables, "solves": kept.with_columns(reason=reason)})
    bisection = bisect_runs(store, "one", "two")
    assert bisection.losses.queries["after"].to_list() == [0, 2, 3]
    assert "Common queries without loss or scores in one of the runs: 1." in bisection.notes
    assert bisection.contributions[0].stored == 1


def test_new_queries_and_other_settings_are_stated(tmp_path):
    queries = [*QUERIES, Row("q9", "a new query", groups={"part": "x"})]
    bisection = bisect_runs(pair(tmp_path, queries=queries, max_length=64), "one", "two")
    assert len(bisection.losses.queries) == 4
    assert "Queries of the later run that the earlier one lacks: 1." in bisection.notes
    assert bisection.settings == ("max_length: absent -> 64",)
