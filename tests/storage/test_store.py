"""Ownership of a store, its runs and their status."""

import json
import os

import pytest
from store_samples import RUN, SHARDS, STUDY, record, runs, tables

from storage import Shard, Store, StoreError


def content(folder):
    return {path: path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}


def finish(store, run, shards=SHARDS):
    for shard in shards:
        store.commit(run, shard.key, tables(shard))
    store.commit(run, "finish", {"runs": runs()})


def test_a_new_store_records_its_study(tmp_path):
    store = Store.open(tmp_path / "a" / "store", STUDY)
    stated = json.loads(store.layout.store.read_text())
    assert (stated["format"], stated["study"]) == (3, STUDY)
    assert store.list_runs() == []
    assert store.find_latest() is None


def test_opening_again_changes_nothing(store, tmp_path):
    before = content(tmp_path)
    assert Store.open(store.layout.root, STUDY) == store
    assert Store.open(store.layout.root, STUDY, create=False) == store
    assert content(tmp_path) == before


def test_a_store_whose_creation_was_interrupted_is_created_again(tmp_path):
    (tmp_path / ".store.json.0123.tmp").write_text('{"form')
    assert Store.open(tmp_path, STUDY).list_runs() == []


def full(root):
    root.mkdir()
    (root / "thesis.txt").write_text("mine")


def make_store_file(**fields):
    def make(root):
        root.mkdir()
        (root / "store.json").write_text(json.dumps(fields))

    return make


REFUSED = {
    "another study": (make_store_file(format=1, study="mnist"), "study 'mnist'"),
    "another format": (make_store_file(format=4, study=STUDY), "format 4"),
    "no description": (make_store_file(format=1), "unreadable"),
    "other files in the folder": (full, "other files"),
    "a file": (lambda root: root.write_text("mine"), "a file"),
}


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("kind", REFUSED)
def test_other_folders_are_refused_and_left_unchanged(tmp_path, kind, create):
    make, message = REFUSED[kind]
    root = tmp_path / "store"
    make(root)
    before = content(tmp_path)
    with pytest.raises(StoreError, match=message) as caught:
        Store.open(root, STUDY, create=create)
    assert str(root) in str(caught.value)
    assert content(tmp_path) == before


def test_a_missing_store_is_refused_without_create(tmp_path):
    with pytest.raises(StoreError, match="a missing folder"):
        Store.open(tmp_path / "store", STUDY, create=False)
    assert content(tmp_path) == {}


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=r"writable folder.*file"):
        Store.open(tmp_path / "file" / "store", STUDY)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_write_permission_is_refused(tmp_path, there):
    root = tmp_path / "closed" / "store"
    if there:
        Store.open(root, STUDY)
    root.parent.mkdir(exist_ok=True)
    closed = root if there else root.parent
    closed.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="no write permission"):
            Store.open(root, STUDY)
        if there:
            assert Store.open(root, STUDY, create=False).list_runs() == []
    finally:
        closed.chmod(0o700)


def test_a_run_keeps_its_first_record(store):
    store.open_run(record(created="2030-01-01T00:00:00+00:00"))
    assert store.read_record(RUN) == record()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"damping": 0.2}, "damping: 0.1 -> 0.2"),
        ({"solver": {"kind": "cg"}}, 'solver.kind: "dual" -> "cg"'),
        ({"solver": {"kind": "dual", "k": 3}}, "solver.k: absent -> 3"),
        ({"extra": None}, "extra: absent -> null"),
        ({"shard_size": 5}, "shard_size: 4 -> 5"),
    ],
)
def test_a_run_with_other_settings_is_refused(store, change, message):
    with pytest.raises(StoreError) as caught:
        store.open_run(record(**change))
    text = str(caught.value)
    assert f"({message})" in text
    assert "another name" in text
    assert store.read_record(RUN) == record()


def test_a_run_of_another_study_is_refused(store):
    with pytest.raises(StoreError, match="'mnist'"):
        store.open_run(record("second", study="mnist"))
    assert [status.record.run for status in store.list_runs()] == [RUN]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", ".hidden", "run=1", "x" * 200, "é"])
def test_invalid_run_names_are_refused(store, tmp_path, name):
    before = content(tmp_path)
    with pytest.raises(StoreError, match="name of the run"):
        store.open_run(record(name))
    assert content(tmp_path) == before


def test_the_error_for_an_unknown_run_lists_the_known_ones(store):
    with pytest.raises(StoreError, match="the runs first"):
        store.read_record("second")
    with pytest.raises(StoreError, match="the runs first"):
        store.scan("scores", "second")


def test_a_damaged_record_is_reported_with_its_path(store):
    path = store.layout.record(RUN)
    for text in ("{", "[]", '{"run": "first"}'):
        path.write_text(text)
        with pytest.raises(StoreError, match=r"run\.json"):
            store.list_runs()


def test_status_counts_committed_shards(store):
    assert [(s.done, s.planned, s.state, s.finished) for s in store.list_runs()] == [
        (0, len(SHARDS), "partial", False)
    ]
    store.commit(RUN, SHARDS[0].key, tables(SHARDS[0]))
    assert (store.list_runs()[0].done, store.list_runs()[0].state) == (1, "partial")
    finish(store, RUN, SHARDS[1:])
    status = store.list_runs()[0]
    assert (status.done, status.state, status.finished) == (len(SHARDS), "complete", True)


def test_find_missing_returns_uncommitted_shards(store):
    store.commit(RUN, SHARDS[1].key, tables(SHARDS[1]))
    left = [shard for shard in SHARDS if shard != SHARDS[1]]
    assert store.find_missing(RUN, SHARDS) == left
    assert store.find_missing(RUN, SHARDS[1:2]) == []
    assert store.is_committed(RUN, SHARDS[1].key)
    assert not store.is_committed(RUN, "train")


def test_the_latest_run_is_the_newest_finished_one(store):
    store.open_run(record("older", created="2025-01-01T00:00:00+00:00"))
    store.open_run(record("newer", created="2027-01-01T00:00:00+00:00"))
    assert [status.record.run for status in store.list_runs()] == ["newer", "older", RUN]
    assert store.find_latest().record.run == "newer"
    finish(store, "older", [])
    assert store.find_latest().record.run == "older"
    finish(store, RUN, [])
    assert store.find_latest().record.run == RUN


def test_the_order_of_runs_does_not_depend_on_the_clock(store):
    """The clock is set back between two runs; then the tables are rolled back."""
    store.open_run(record("second", created="1999-01-01T00:00:00+00:00"))
    assert [status.record.run for status in store.list_runs()] == ["second", RUN]
    finish(store, RUN, [])
    finish(store, "second", [])
    assert store.find_latest().record.run == "second"
    store.open_run(record("second"))
    store.make_current(RUN)
    for again in (store, Store.open(store.layout.root, STUDY, create=False)):
        assert [status.record.run for status in again.list_runs()] == [RUN, "second"]
        assert again.find_latest().record.run == RUN
    before = store.layout.order(RUN).read_bytes()
    store.make_current(RUN)
    assert store.layout.order(RUN).read_bytes() == before, "it is the current run already"
    store.layout.order(RUN).write_bytes(before[:-9])
    with pytest.raises(StoreError, match=r"order\.json"):
        store.list_runs()


def test_run_size_counts_the_files_of_one_run_only(store):
    store.open_run(record("second"))
    before = store.count_run_bytes("second")
    small = store.count_run_bytes(RUN)
    commit = store.commit(RUN, SHARDS[0].key, tables(SHARDS[0]))
    manifest = store.layout.manifest(RUN, SHARDS[0].key).stat().st_size
    assert store.count_run_bytes(RUN) == small + manifest + sum(file.bytes for file in commit.files)
    assert store.count_run_bytes("second") == before


def test_a_moved_store_is_readable(store, tmp_path):
    store.commit(RUN, SHARDS[0].key, tables(SHARDS[0]))
    moved = store.layout.root.rename(tmp_path / "elsewhere [1]")
    again = Store.open(moved, STUDY)
    assert again.verify(RUN) == []
    assert again.scan("scores", RUN).collect().equals(tables(SHARDS[0])["scores"])


def test_an_unknown_table_is_refused(store):
    with pytest.raises(StoreError, match="one of scores"):
        store.scan("score", RUN)


def test_shard_keys_have_five_digits():
    assert Shard(3, 192, 256).key == "00003"
