"""Garbage collection of leftovers, replaced files, removed runs and unused artifacts."""

import os
import time

import pytest
from polars.testing import assert_frame_equal
from store_samples import RUN, SHARDS, record, tables
from test_store import finish

from storage import garbage_collection as sweep

OLD = 2 * 24 * 3600


@pytest.fixture
def no_grace_period(monkeypatch):
    """Make files written now appear two days old to the collection."""
    monkeypatch.setattr(sweep, "GRACE_SECONDS", -60)


def age(folder, seconds=OLD):
    then = time.time() - seconds
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def read_tables(store):
    return {name: store.scan(name, RUN).collect() for name in ("scores", "solves", "queries")}


def test_an_intact_store_has_no_leftovers(either, no_grace_period):
    finish(either, RUN)
    either.write_artifact("index", "ab" * 32, lambda folder: (folder / "a").write_text("x"))
    assert either.find_leftovers() == []


def test_only_unlisted_files_are_removed(either, no_grace_period):
    finish(either, RUN)
    before = read_tables(either)
    either.commit(RUN, SHARDS[0].key, tables(SHARDS[0], writer=1))
    either.commit(RUN, SHARDS[0].key, tables(SHARDS[0]))
    stray = either.layout.table("scores", RUN) / "shard=00001" / "never-committed.parquet"
    stray.write_bytes(b"half")
    gone = either.layout.tables / "scores" / "run=gone" / "shard=00000" / "x.parquet"
    if not gone.parent.exists():
        gone.parent.mkdir(parents=True, exist_ok=True)
    gone.write_bytes(b"whole")
    reasons = {
        leftover.path.split("/")[-1]: leftover.reason for leftover in either.find_leftovers()
    }
    assert reasons.pop("x.parquet") == "its run was deleted"
    assert reasons.pop("never-committed.parquet") == "no commit lists it"
    assert len(reasons) == 3, "the replaced file of each table"
    either.remove(either.find_leftovers())
    assert either.find_leftovers() == []
    for name, rows in read_tables(either).items():
        assert_frame_equal(rows, before[name])
    assert either.verify(RUN) == []


def test_recent_files_are_kept(store):
    finish(store, RUN)
    stray = store.layout.table("scores", RUN) / "shard=00001" / "in-work.parquet"
    aside = store.layout.artifact("index", "ab" * 32).with_name(".ab.0.tmp") / "half"
    aside.parent.mkdir(parents=True)
    for path in (stray, aside):
        path.write_bytes(b"x")
    assert store.find_leftovers() == []
    age(store.layout.root)
    assert {leftover.path.split("/")[-1] for leftover in store.find_leftovers()} == {
        "in-work.parquet",
        "half",
    }
    store.remove(store.find_leftovers())
    assert not aside.parent.exists(), "its folder is removed too"


def test_shard_files_are_removed_after_compaction(either, no_grace_period):
    finish(either, RUN)
    before = read_tables(either)
    either.compact(RUN)
    leftovers = either.find_leftovers()
    assert len(leftovers) == 5 * len(SHARDS), "a manifest and four tables a shard"
    assert either.find_replaced_files() == leftovers
    either.remove(leftovers)
    assert either.find_leftovers() == []
    for name, rows in read_tables(either).items():
        assert_frame_equal(rows, before[name])
    assert either.verify(RUN) == []
    assert either.find_missing(RUN, SHARDS) == []


def test_a_removed_run_is_gone_and_others_stay(either, no_grace_period):
    finish(either, RUN)
    either.open_run(record("second"))
    finish(either, "second", SHARDS[:2])
    leftovers = either.list_run_files("second")
    assert leftovers[0].path == "runs/second/run.json", "without run.json the rest is ignored"
    either.remove(leftovers[:1])
    assert [status.record.run for status in either.list_runs()] == [RUN]
    assert {leftover.path for leftover in either.find_leftovers()} == {
        leftover.path for leftover in leftovers[1:]
    }
    either.remove(leftovers)
    assert either.find_leftovers() == []
    assert either.verify(RUN) == []


def test_unused_artifacts_are_removed_after_some_days(store):
    def write(folder):
        (folder / "a.bin").write_text("x")

    used, unused, kept = (character * 64 for character in "abc")
    for digest in (used, unused, kept):
        store.write_artifact("index", digest, write)
    age(store.layout.all_artifacts, 40 * 24 * 3600)
    assert store.find_artifact("index", used) is not None
    leftovers = store.find_unused_artifacts(30, keep={("index", kept)})
    assert {leftover.path.split("/")[2] for leftover in leftovers} == {unused}
    assert leftovers[0].path.endswith("part.json"), (
        "without part.json the artifact counts as missing"
    )
    store.remove(leftovers)
    assert list(store.find_artifacts("index")) == [used, kept]
    assert store.find_unused_artifacts(50) == []


def test_objects_of_a_killed_writer_are_removed(remote, no_grace_period):
    def write(folder):
        (folder / "a.bin").write_text("x")

    digest = "ab" * 32
    remote.write_artifact("index", digest, write)
    lost = [remote.layout.artifact("index", name) / "f00" / "a.bin" for name in (digest, "cd" * 32)]
    for path in lost:
        path.write_bytes(b"x")
    leftovers = remote.find_leftovers()
    assert {leftover.path for leftover in leftovers} == {
        f"parts/index/{name}/f00/a.bin" for name in (digest, "cd" * 32)
    }
    remote.remove(leftovers)
    assert remote.find_leftovers() == []
    assert remote.find_artifact("index", digest) is not None
