"""Commits under a limit on file sizes, on a full disk and on one that became read-only."""

import subprocess
from contextlib import suppress

import pytest
from disturbed_stores import assert_whole, reopen, resume_commits, start_child
from store_samples import RUN, SHARDS, STUDY, tables

from storage import Store, StoreError

FIRST = SHARDS[0]


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
    """A mounted file system of 400 kB."""
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
        StoreError, match=r"[\d,]+ bytes of free space; got a full disk \(0 bytes free\)"
    ):
        store.commit(RUN, SHARDS[1].key, tables(SHARDS[1]))
    assert list(small_disk.rglob("*.tmp")) == []
    assert_whole(store)
    filler.unlink()
    assert resume_commits(store) == list(SHARDS[1:])
    assert_whole(store)


def test_a_full_disk_is_recognised_from_a_library_s_own_exception(small_disk):
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
    with pytest.raises(StoreError, match="no write permission"):
        Store.open(small_disk / "store", STUDY)
    assert_whole(Store.open(small_disk / "store", STUDY, create=False))
