"""Damaged files of a store are reported, and repaired by another commit."""

import hashlib
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from disturbed_stores import assert_whole, resume_commits
from polars.testing import assert_frame_equal
from store_samples import QUERIES, RUN, SHARDS, STUDY, tables

from storage import Store, StoreError
from storage.sealed import seal, unseal

FIRST = SHARDS[0]


def damage(path, how):
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)


@pytest.mark.default_cases
@pytest.mark.parametrize("how", ["deleted", "truncated", "altered"])
@pytest.mark.parametrize("table", ["scores", "solves", "queries"])
def test_damage_is_detected_and_repaired_by_another_commit(whole, how, table):
    hurt = SHARDS[2]
    path = next(whole.layout.table(table, RUN).glob(f"shard={hurt.key}/*.parquet"))
    damage(path, how)
    messages = whole.verify(RUN)
    assert len(messages) == 1
    assert str(path) in messages[0]
    # A changed byte keeps the size: only a check of all bytes finds it.
    assert whole.find_missing(RUN, SHARDS) == ([] if how == "altered" else [hurt])
    if how != "altered":
        assert whole.list_runs()[0].state == "partial"
    with pytest.raises(StoreError, match=path.name):
        whole.scan(table, RUN)
    other = "queries" if table != "queries" else "solves"
    assert len(whole.scan(other, RUN).collect()) == QUERIES, "an intact table is read"
    whole.commit(RUN, hurt.key, tables(hurt))
    assert_whole(whole)
    assert whole.find_missing(RUN, SHARDS) == []


def test_a_row_count_that_differs_from_the_manifest_is_detected(whole):
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


def test_invalid_utf_8_is_reported_without_a_traceback(whole):
    """The digest matches the manifest, so only decoding finds the error."""
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
def test_every_changed_byte_of_a_small_file_is_detected(whole, kind):
    """Each alphanumeric byte is changed: a reader refuses the file, or reads the same content."""
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


def test_leftovers_and_uncommitted_files_are_ignored(whole):
    committed = next(whole.layout.table("scores", RUN).glob("shard=00000/*.parquet"))
    committed.with_name(f".{committed.name}.0123.tmp").write_bytes(b"half")
    shutil.copy(committed, committed.with_name("never-committed.parquet"))
    (whole.layout.manifest(RUN, FIRST.key).parent / ".00000.json.0123.tmp").write_text("{")
    assert_whole(whole)
    assert whole.find_missing(RUN, SHARDS) == []
