"""The files of a finished audit are merged by itself, and replaced ones go a day later."""

import pytest
import tiny
from polars.testing import assert_frame_equal

from storage import garbage_collection
from storage.compaction import COMPACT
from tasks.audit.in_process import audit_in_process
from tasks.audit.tidy_store import tidy_store
from tasks.run.spec import find_finished_run, plan_run

TABLES = ("scores", "solves", "queries", "train", "runs")


def _read_tables(store, run):
    return {name: store.scan(name, run).collect() for name in TABLES}


def _list_keys(store, run):
    return {path.stem for path in store.layout.manifest(run, "train").parent.iterdir()}


def test_the_next_audit_merges_the_shards_of_a_run_of_the_day_before(world, monkeypatch):
    store, run = audit_in_process(plan_run(world / "study.toml"))
    shards = {shard.key for shard in store.read_record(run).list_shards()}
    assert len(shards) > 1
    assert _list_keys(store, run) == shards | {"train", "finish"}, "its rows are there once"
    before = _read_tables(store, run)
    monkeypatch.setattr(garbage_collection, "GRACE_SECONDS", -60)  # a day later
    study = tiny.write_study(world, candidates=tiny.WITH_RECALL | {"k": 10})
    second, other = audit_in_process(plan_run(study))
    assert other != run
    assert _list_keys(second, run) == {"train", "finish", COMPACT}
    for name, rows in _read_tables(second, run).items():
        assert_frame_equal(rows, before[name])
    files = [path for path in store.layout.tables.rglob(f"run={run}/**/*") if path.is_file()]
    assert len(files) == len(TABLES)
    assert second.verify(run) == []


def test_a_failure_is_reported_and_loses_nothing(world, capsys, monkeypatch):
    monkeypatch.setattr(garbage_collection, "GRACE_SECONDS", -60)
    ref = plan_run(world / "study.toml").ref
    store, run = tiny.run_directly(world / "study.toml")
    (entry, *_) = store._list_table_files("scores", run)
    path = store.layout.root / entry.path
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    tidy_store(ref)
    output = capsys.readouterr()
    assert "The files of earlier runs were not merged" in output.out + output.err
    path.write_bytes(data)
    tidy_store(ref)
    assert COMPACT in _list_keys(store, run)


@pytest.mark.parametrize("rows", [0, 10**6])
def test_a_run_above_the_limit_keeps_its_shards(audit, rows):
    plan = plan_run(audit / "study.toml")
    store = find_finished_run(plan)
    assert (store.compact(plan.record.run, rows) is None) == (rows == 0)


def test_a_file_that_cannot_be_removed_is_reported(world, capsys, monkeypatch):
    plan = plan_run(world / "study.toml")
    store, run = tiny.run_directly(world / "study.toml")
    (entry, *_) = store._list_table_files("scores", run)
    store.compact(run)
    path = store.layout.root / entry.path
    path.unlink()
    path.mkdir()  # a folder is not removed like a file
    before = _read_tables(store, run)
    monkeypatch.setattr(garbage_collection, "GRACE_SECONDS", -60)
    tidy_store(plan.ref)
    output = capsys.readouterr()
    assert "The files of earlier runs were not merged" in output.out + output.err
    for name, rows in _read_tables(store, run).items():
        assert_frame_equal(rows, before[name])
