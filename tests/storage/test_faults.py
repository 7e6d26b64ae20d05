"""Processes that are really killed, raced and starved; files that are really damaged."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from store_samples import QUERIES, RUN, SHARDS, STUDY, record, tables

from storage import Store, StoreError
from storage.sealed import seal, unseal

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FIRST = SHARDS[0]


def start_child(job, *arguments):
    path = os.pathsep.join([str(ROOT), str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(HERE / "store_child.py"), job, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def reopen(root):
    store = Store.open(root, STUDY)
    store.open_run(record())
    return store


def assert_whole(store, writer=0):
    """Every visible shard has all its tables with all their rows, and no other row is seen."""
    assert store.verify(RUN) == []
    missing = store.find_missing(RUN, SHARDS)
    done = [tables(shard, writer) for shard in SHARDS if shard not in missing]
    for table in ("scores", "solves", "queries"):
        actual = store.scan(table, RUN).collect()
        if done:
            assert_frame_equal(actual, pl.concat(made[table] for made in done))
        else:
            assert actual.is_empty()


def resume_commits(store):
    missing = store.find_missing(RUN, SHARDS)
    for shard in missing:
        store.commit(RUN, shard.key, tables(shard))
    return missing


def read_tables(store):
    return {table: store.scan(table, RUN).collect() for table in ("scores", "solves", "queries")}


@pytest.fixture
def whole(tmp_path):
    """A store that nobody disturbed."""
    store = reopen(tmp_path / "whole")
    assert resume_commits(store) == list(SHARDS)
    return store


def test_killed_at_random_moments_then_resumed_equals_undisturbed(tmp_path, whole):
    root, chance = tmp_path / "killed", random.Random(7)
    interrupted = 0
    for _ in range(12):
        process = start_child("fill", root)
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.06))
        process.kill()
        output, _ = process.communicate()
        assert_whole(Store.open(root, STUDY))
        if "done" in output:
            break
        interrupted += 1
    assert interrupted >= 1
    store = reopen(root)
    missing = store.find_missing(RUN, SHARDS)
    assert resume_commits(store) == missing
    assert_whole(store)
    expected = read_tables(whole)
    for table, actual in read_tables(store).items():
        assert_frame_equal(actual, expected[table])


def test_killed_before_every_single_step_of_a_commit(tmp_path):
    """Every crash point, not a sample: killed before step 1, 2, ... until a commit survives."""
    output, _ = start_child("die", tmp_path).communicate(timeout=200)
    outcomes = dict(line.split(maxsplit=1) for line in output.splitlines())
    *killed, survived = outcomes.values()
    assert set(killed) == {"killed"}
    assert survived == "status 0"
    assert len(killed) > 12  # three files and a manifest: fsync, rename, fsync of the folder
    done = []
    for call in outcomes:
        store = Store.open(tmp_path / call, STUDY)
        assert_whole(store)
        done.append(store.is_committed(RUN, FIRST.key))
        store.commit(RUN, FIRST.key, tables(FIRST))
        for table, rows in read_tables(store).items():
            assert_frame_equal(rows, tables(FIRST)[table])
    assert done == sorted(done)  # one step, the manifest's rename, makes all of it visible
    assert set(done) == {False, True}


def test_two_processes_commit_the_same_shards_at_once(tmp_path):
    root = tmp_path / "raced"
    store = reopen(root)
    racers = [start_child("race", root, writer) for writer in (1, 2)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    while any(racer.poll() is None for racer in racers):
        # A reader in the middle of it sees whole shards of one of the two, never an error.
        solvers = store.scan("solves", RUN).collect()
        for shard in SHARDS:
            shard_rows = solvers.filter(pl.col("query").is_between(shard.start, shard.stop - 1))
            assert shard_rows.height in (0, len(shard))
            assert shard_rows["solver"].n_unique() <= 1
    for racer in racers:
        assert "done" in racer.communicate()[0]
        assert racer.returncode == 0
    assert store.verify(RUN) == []
    assert store.find_missing(RUN, SHARDS) == []
    both = read_tables(store)
    for shard in SHARDS:
        solver = both["solves"].filter(pl.col("query") == shard.start)["solver"][0]
        for table, rows in both.items():
            shard_rows = rows.filter(pl.col("query").is_between(shard.start, shard.stop - 1))
            assert_frame_equal(shard_rows, tables(shard, int(solver[-1]))[table])


def damage(path, how):
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["deleted", "truncated", "altered"])
@pytest.mark.parametrize("table", ["scores", "solves", "queries"])
def test_damage_is_found_and_mended_by_committing_again(whole, how, table):
    hurt = SHARDS[2]
    path = next(whole.layout.table(table, RUN).glob(f"shard={hurt.key}/*.parquet"))
    damage(path, how)
    messages = whole.verify(RUN)
    assert len(messages) == 1
    assert str(path) in messages[0]
    # An altered byte keeps the size: only what reads everything can see it.
    assert whole.find_missing(RUN, SHARDS) == ([] if how == "altered" else [hurt])
    if how != "altered":
        assert whole.list_runs()[0].state == "partial"
    with pytest.raises(StoreError, match=path.name):
        whole.scan(table, RUN)
    other = "queries" if table != "queries" else "solves"
    assert len(whole.scan(other, RUN).collect()) == QUERIES, "a table that is sound is read"
    whole.commit(RUN, hurt.key, tables(hurt))
    assert_whole(whole)
    assert whole.find_missing(RUN, SHARDS) == []


def test_other_rows_than_the_manifest_states_are_found(whole):
    manifest = whole.layout.manifest(RUN, FIRST.key)
    stated = unseal(manifest.read_bytes())
    next(file for file in stated["files"] if file["rows"] == 24)["rows"] = 25
    manifest.write_bytes(seal(stated))
    assert ["expected 25 rows, got 24" in problem for problem in whole.verify(RUN)] == [True]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "00000"}', "null"])
def test_a_damaged_manifest_is_no_commit(whole, text):
    whole.layout.manifest(RUN, FIRST.key).write_text(text)
    assert whole.find_missing(RUN, SHARDS) == [FIRST]
    assert "not readable" in whole.verify(RUN)[0]
    resume_commits(whole)
    assert_whole(whole)


def test_a_manifest_of_another_fingerprint_is_no_commit(whole):
    manifest = whole.layout.manifest(RUN, FIRST.key)
    manifest.write_bytes(seal({**unseal(manifest.read_bytes()), "fingerprint": "0" * 64}))
    assert whole.find_missing(RUN, SHARDS) == [FIRST]
    assert "another run" in whole.verify(RUN)[0]
    with pytest.raises(StoreError, match="another run"):
        whole.scan("scores", RUN)


def test_a_text_that_is_not_utf_8_is_told_and_no_traceback(whole):
    """The bytes are those of the manifest, so only decoding them can tell."""
    path = next(whole.layout.table("queries", RUN).glob(f"shard={FIRST.key}/*.parquet"))
    table = pq.read_table(path, partitioning=None)
    offsets = pa.array(range(len(table) + 1), pa.int32()).buffers()[1]
    bad = pa.Array.from_buffers(
        pa.string(), len(table), [None, offsets, pa.py_buffer(b"\xff" * len(table))]
    )
    pq.write_table(table.set_column(table.schema.get_field_index("text"), "text", bad), path)
    manifest = whole.layout.manifest(RUN, FIRST.key)
    stated = unseal(manifest.read_bytes())
    entry = next(file for file in stated["files"] if file["table"] == "queries")
    data = path.read_bytes()
    entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest.write_bytes(seal(stated))
    (problem,) = whole.verify(RUN)
    assert f"{path}: not readable as Parquet" in problem


SMALL = {"a record": "record", "a manifest": "manifest", "the store": "store"}


@pytest.mark.parametrize("kind", SMALL)
def test_no_changed_byte_of_a_small_file_is_believed(whole, kind):
    """Letters and digits in turn made others: a reader refuses, or reads what was written."""
    layout = whole.layout
    paths = (layout.record(RUN), layout.manifest(RUN, FIRST.key), layout.store)
    path = dict(zip(SMALL, paths, strict=True))[kind]
    sound, rows, refused = path.read_bytes(), whole.scan("scores", RUN).collect(), 0
    for place in range(0, len(sound), 7):
        if not chr(sound[place]).isalnum():
            continue
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        try:
            actual = Store.open(layout.root, STUDY, create=False).scan("scores", RUN).collect()
        except StoreError:
            refused += 1
        else:
            assert_frame_equal(actual, rows)
    path.write_bytes(sound)
    assert refused > 10
    assert_whole(whole)


def test_leftovers_and_uncommitted_files_disturb_nobody(whole):
    committed = next(whole.layout.table("scores", RUN).glob("shard=00000/*.parquet"))
    committed.with_name(f".{committed.name}.0123.tmp").write_bytes(b"half")
    shutil.copy(committed, committed.with_name("never-committed.parquet"))
    (whole.layout.manifest(RUN, FIRST.key).parent / ".00000.json.0123.tmp").write_text("{")
    assert_whole(whole)
    assert whole.find_missing(RUN, SHARDS) == []


def test_a_limit_on_file_sizes_is_explained(tmp_path):
    process = start_child("starve", tmp_path / "store", 600)
    output, _ = process.communicate(timeout=120)
    assert "limit on the size of this process's files" in output
    assert "ulimit -f" in output
    assert list((tmp_path / "store" / "tables").rglob("*.tmp")) == []
    store = reopen(tmp_path / "store")
    assert not store.is_committed(RUN, FIRST.key)
    resume_commits(store)
    assert_whole(store)


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_explained_and_keeps_what_was_committed(small_disk):
    store = reopen(small_disk / "store")
    filler = small_disk / "filler"
    store.commit(RUN, FIRST.key, tables(FIRST))
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 4096)
    with pytest.raises(
        StoreError, match=r"room for [\d,]+ bytes; got a full disk \(0 bytes free\)"
    ):
        store.commit(RUN, SHARDS[1].key, tables(SHARDS[1]))
    assert list(small_disk.rglob("*.tmp")) == []
    assert_whole(store)
    filler.unlink()
    assert resume_commits(store) == list(SHARDS[1:])
    assert_whole(store)


def test_a_full_disk_is_recognised_behind_a_library_s_own_error(small_disk):
    store = reopen(small_disk / "store")

    def write(folder):
        try:
            (folder / "index.faiss").write_bytes(b"0" * 500_000)
        except OSError:
            raise RuntimeError("write error in native code") from None

    with pytest.raises(StoreError, match="full disk"):
        store.write_artifact("index", "ab" * 32, write)
    assert store.find_artifact("index", "ab" * 32) is None
    assert list(small_disk.rglob("*.tmp")) == []


def test_a_disk_that_became_read_only_is_explained(small_disk):
    store = reopen(small_disk / "store")
    store.commit(RUN, FIRST.key, tables(FIRST))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="read-only file system"):
        store.commit(RUN, SHARDS[1].key, tables(SHARDS[1]))
    with pytest.raises(StoreError, match="no right to write"):
        Store.open(small_disk / "store", STUDY)
    assert_whole(Store.open(small_disk / "store", STUDY, create=False))
