"""Artifacts: folders of files that runs share."""

import hashlib
import json
import os

import pytest
from disturbed_stores import start_child

from storage import StoreError
from storage.sealed import unseal

KIND, DIGEST = "index", "ab" * 32


def fill(text):
    def write(folder):
        (folder / "deep").mkdir()
        (folder / "deep" / "a.bin").write_text(text)
        (folder / "b.bin").write_text(text * 2)

    return write


def test_an_artifact_is_found_after_it_is_written(store):
    assert store.find_artifact(KIND, DIGEST) is None
    folder = store.write_artifact(KIND, DIGEST, fill("x"))
    assert store.find_artifact(KIND, DIGEST) == folder
    assert (folder / "deep" / "a.bin").read_text() == "x"
    stated = unseal((folder / "part.json").read_bytes())
    assert stated["files"] == {"b.bin": 2, "deep/a.bin": 1}
    assert stated["sha256"]["b.bin"] == hashlib.sha256(b"xx").hexdigest()


def test_kinds_are_listed_by_their_beginning(store):
    assert store.list_artifact_kinds() == []
    for kind in ("index", "encoded-b", "encoded-a"):
        store.write_artifact(kind, DIGEST, fill("x"))
    assert store.list_artifact_kinds() == ["encoded-a", "encoded-b", "index"]
    assert store.list_artifact_kinds("encoded-") == ["encoded-a", "encoded-b"]


def test_the_first_of_two_writers_wins(store):
    store.write_artifact(KIND, DIGEST, fill("x"))
    folder = store.write_artifact(KIND, DIGEST, fill("y"))
    assert (folder / "b.bin").read_text() == "xx"
    assert [path.name for path in folder.parent.iterdir()] == [DIGEST]


def lose_file(folder):
    (folder / "b.bin").unlink()


def cut_file(folder):
    os.truncate(folder / "deep" / "a.bin", 0)


def lose_list(folder):
    (folder / "part.json").unlink()


def break_list(folder):
    (folder / "part.json").write_text('{"files": []}')


@pytest.mark.parametrize("damage", [lose_file, cut_file, lose_list, break_list])
def test_a_damaged_artifact_counts_as_missing_and_is_replaced(store, damage):
    damage(store.write_artifact(KIND, DIGEST, fill("x")))
    assert store.find_artifact(KIND, DIGEST) is None
    folder = store.write_artifact(KIND, DIGEST, fill("y"))
    assert store.find_artifact(KIND, DIGEST) == folder
    assert (folder / "b.bin").read_text() == "yy"
    assert [path.name for path in folder.parent.iterdir()] == [DIGEST]


def test_a_failed_writer_leaves_no_files(store):
    def write(folder):
        fill("x")(folder)
        raise RuntimeError("no such factory string")

    with pytest.raises(RuntimeError, match="factory"):
        store.write_artifact(KIND, DIGEST, write)
    assert store.find_artifact(KIND, DIGEST) is None
    assert list(store.layout.artifact(KIND, DIGEST).parent.iterdir()) == []


def test_two_processes_write_the_same_artifacts_concurrently(store):
    racers = [start_child("part", store.layout.root, letter) for letter in "xy"]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        assert "done" in racer.communicate(timeout=120)[0]
    folders = list(store.layout.artifact(KIND, DIGEST).parent.iterdir())
    assert sorted(folder.name for folder in folders) == [f"{i:064d}" for i in range(20)]
    for folder in folders:
        assert store.find_artifact(KIND, folder.name) == folder
        characters = set((folder / "sub" / "a.bin").read_text() + (folder / "b.bin").read_text())
        assert len(characters) == 1


def test_retain_removes_all_other_artifacts_of_a_kind(store):
    def write(folder):
        (folder / "states").write_bytes(b"1234")

    names = [character * 64 for character in "abc"]
    kept, gone, other = names
    for name in (kept, gone):
        store.write_artifact("hidden", name, write)
    store.write_artifact("index", other, write)
    open_file = (store.find_artifact("hidden", gone) / "states").open("rb")
    left = store.layout.artifacts("hidden") / f".{other}.0.tmp"
    left.mkdir()
    store.retain_artifacts("hidden", {kept, other})
    assert list(store.find_artifacts("hidden")) == [kept]
    assert store.find_artifact("index", other) is not None
    assert open_file.read() == b"1234", "a process that has it open can read on"
    open_file.close()
    assert left.exists(), "its writer may be running"
    os.utime(left, (0, 0))
    store.retain_artifacts("hidden", {kept})
    assert [path.name for path in store.layout.artifacts("hidden").iterdir()] == [kept]
    store.retain_artifacts("none-yet", set())


def flip_far_in(folder):
    path = folder / "b.bin"
    data = bytearray(path.read_bytes())
    data[-3:] = b"\xff\xfe\xfd"
    path.write_bytes(data)


def test_a_large_artifact_with_three_changed_bytes_is_replaced(store):
    """A file of 4 MB whose size and listing are right."""
    flip_far_in(store.write_artifact(KIND, DIGEST, fill("x" * 2**21)))
    assert store.find_artifact(KIND, DIGEST) is None
    folder = store.write_artifact(KIND, DIGEST, fill("x" * 2**21))
    assert store.find_artifact(KIND, DIGEST) == folder
    assert (folder / "b.bin").read_bytes()[-3:] == b"xxx"


@pytest.mark.parametrize("name", ["deep/a.bin", "b.bin", "part.json"])
def test_three_changed_bytes_are_detected(store, name):
    """The size is unchanged, so only the digest differs."""
    folder = store.write_artifact("verdicts", DIGEST, fill("abcdefgh"))
    assert store.find_damaged_artifacts() == {}
    assert store.find_verified_artifacts("verdicts") == {DIGEST: folder}
    data = bytearray((folder / name).read_bytes())
    for place in range(3, 6):
        data[place] ^= 0xFF
    (folder / name).write_bytes(data)
    ((kind, digest),) = store.find_damaged_artifacts()
    assert (kind, digest) == ("verdicts", DIGEST)
    assert str(folder / name) in store.find_damaged_artifacts()[kind, digest][0]
    with pytest.raises(StoreError, match=name):
        store.find_verified_artifacts("verdicts")
    assert store.find_artifact("verdicts", DIGEST) is None, (
        "its digest is checked before it is read"
    )
    store.remove_artifact("verdicts", DIGEST)
    assert store.find_damaged_artifacts() == {}
    assert not folder.exists()


def test_an_artifact_without_digests_is_checked_by_file_size(store):
    folder = store.write_artifact(KIND, DIGEST, fill("x"))
    (folder / "part.json").write_text(json.dumps({"files": {"b.bin": 2, "deep/a.bin": 1}}))
    assert store.find_artifact(KIND, DIGEST) == folder
    assert store.find_damaged_artifacts() == {}
