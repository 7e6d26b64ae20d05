"""What is removed is what nobody needs: leftovers, replaced files, old runs, unused parts."""

import os
import time

import pytest
from polars.testing import assert_frame_equal
from store_samples import RUN, SHARDS, record, tables
from test_store import finish

from storage import garbage_collection as sweep

OLD = 2 * 24 * 3600


@pytest.fixture
def grown_old(monkeypatch):
    """What is written now looks two days old to whoever sweeps."""
    monkeypatch.setattr(sweep, "YOUNG", -60)


def age(folder, seconds=OLD):
    then = time.time() - seconds
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def seen(store):
    return {name: store.scan(name, RUN).collect() for name in ("scores", "solves", "queries")}


def test_a_store_in_order_has_nothing_to_remove(either, grown_old):
    finish(either, RUN)
    either.write_part("index", "ab" * 32, lambda folder: (folder / "a").write_text("x"))
    assert either.leftovers() == []


def test_what_no_commit_lists_goes_and_nothing_else(either, grown_old):
    finish(either, RUN)
    before = seen(either)
    either.commit(RUN, SHARDS[0].key, tables(SHARDS[0], writer=1))
    either.commit(RUN, SHARDS[0].key, tables(SHARDS[0]))
    stray = either.layout.table("scores", RUN) / "shard=00001" / "never-committed.parquet"
    stray.write_bytes(b"half")
    gone = either.layout.tables / "scores" / "run=gone" / "shard=00000" / "x.parquet"
    if not gone.parent.exists():
        gone.parent.mkdir(parents=True, exist_ok=True)
    gone.write_bytes(b"whole")
    found = {one.path.split("/")[-1]: one.why for one in either.leftovers()}
    assert found.pop("x.parquet") == "its run is gone"
    assert found.pop("never-committed.parquet") == "no commit lists it any more"
    assert len(found) == 3, "of each table that the other writer made otherwise"
    either.remove(either.leftovers())
    assert either.leftovers() == []
    for name, rows in seen(either).items():
        assert_frame_equal(rows, before[name])
    assert either.verify(RUN) == []


def test_what_is_young_may_be_about_to_be_named(store):
    finish(store, RUN)
    stray = store.layout.table("scores", RUN) / "shard=00001" / "in-work.parquet"
    aside = store.layout.part("index", "ab" * 32).with_name(".ab.0.tmp") / "half"
    aside.parent.mkdir(parents=True)
    for path in (stray, aside):
        path.write_bytes(b"x")
    assert store.leftovers() == []
    age(store.layout.root)
    assert {one.path.split("/")[-1] for one in store.leftovers()} == {"in-work.parquet", "half"}
    store.remove(store.leftovers())
    assert not aside.parent.exists(), "nor is its folder left"


def test_files_of_shards_go_once_they_are_in_a_compact_one(either, grown_old):
    finish(either, RUN)
    before = seen(either)
    either.compact(RUN)
    found = either.leftovers()
    assert len(found) == 4 * len(SHARDS)
    either.remove(found)
    for name, rows in seen(either).items():
        assert_frame_equal(rows, before[name])
    assert either.verify(RUN) == []
    assert either.missing(RUN, SHARDS) == []


def test_a_forgotten_run_is_gone_and_others_stay(either, grown_old):
    finish(either, RUN)
    either.open_run(record("second"))
    finish(either, "second", SHARDS[:2])
    found = either.files_of("second")
    assert found[0].path == "runs/second/run.json", "without it nobody looks at the rest"
    either.remove(found[:1])
    assert [status.record.run for status in either.runs()] == [RUN]
    assert {one.path for one in either.leftovers()} == {one.path for one in found[1:]}
    either.remove(found)
    assert either.leftovers() == []
    assert either.verify(RUN) == []


def test_parts_that_nobody_asked_for_go_with_time(store):
    def write(folder):
        (folder / "a.bin").write_text("x")

    used, unused, kept = (character * 64 for character in "abc")
    for digest in (used, unused, kept):
        store.write_part("index", digest, write)
    age(store.layout.all_parts, 40 * 24 * 3600)
    assert store.part("index", used) is not None
    found = store.unused_parts(30, keep={("index", kept)})
    assert {one.path.split("/")[2] for one in found} == {unused}
    assert found[0].path.endswith("part.json"), "without it nobody takes it for whole"
    store.remove(found)
    assert list(store.parts("index")) == [used, kept]
    assert store.unused_parts(50) == []


def test_objects_of_a_part_whose_writer_was_killed_go(remote, grown_old):
    def write(folder):
        (folder / "a.bin").write_text("x")

    digest = "ab" * 32
    remote.write_part("index", digest, write)
    lost = [remote.layout.part("index", name) / "f00" / "a.bin" for name in (digest, "cd" * 32)]
    for path in lost:
        path.write_bytes(b"x")
    found = remote.leftovers()
    assert {one.path for one in found} == {
        f"parts/index/{name}/f00/a.bin" for name in (digest, "cd" * 32)
    }
    remote.remove(found)
    assert remote.leftovers() == []
    assert remote.part("index", digest) is not None
