"""Small chunks become one, and go when the merged one is a day old; no row is lost or changed."""

import pytest
import torch

from storage import Store
from tasks.run import chunk_merge
from tasks.run.chunk_merge import MANY_CHUNKS, find_replaced_chunks, merge_chunks
from tasks.run.row_chunks import find_missing_rows, gather_rows, write_chunk

KIND, FILE = "sketches-0", "rows.safetensors"


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store", "study")


def _row(number):
    return f"row {number}".encode()


def _vectors(numbers):
    return torch.tensor([[n, n * n] for n in numbers]).half()


def _write(store, numbers):
    missing = find_missing_rows(store, KIND, [_row(n) for n in numbers])
    write_chunk(store, KIND, _vectors(missing["row"].map_elements(_number, int)), missing, FILE)


def _number(row):
    return int(row.split()[1])


def _gather(store, numbers):
    return gather_rows(store, KIND, [_row(n) for n in numbers], FILE)


def _add_nights(store, first, nights, rows=3):
    for night in range(nights):
        _write(store, range(first + night * rows, first + (night + 1) * rows))


def test_few_chunks_are_left(store):
    _add_nights(store, 0, MANY_CHUNKS - 1)
    assert not merge_chunks(store, KIND, FILE, 100)
    assert len(store.find_artifacts(KIND)) == MANY_CHUNKS - 1


def test_merged_rows_are_those_of_the_chunks(store, monkeypatch):
    count = 3 * MANY_CHUNKS
    _add_nights(store, 0, MANY_CHUNKS)
    assert merge_chunks(store, KIND, FILE, 100)
    assert find_replaced_chunks(store, KIND, FILE) == [], "another process may have their list"
    assert len(store.find_artifacts(KIND)) == MANY_CHUNKS + 1
    assert torch.equal(_gather(store, range(count)), _vectors(range(count)))
    assert not merge_chunks(store, KIND, FILE, 100), "what is merged counts as one chunk"
    monkeypatch.setattr(chunk_merge, "GRACE_SECONDS", -60)  # a day later
    replaced = find_replaced_chunks(store, KIND, FILE)
    assert len(replaced) == MANY_CHUNKS
    for name in replaced:
        store.remove_artifact(KIND, name)
    assert find_replaced_chunks(store, KIND, FILE) == []
    assert torch.equal(_gather(store, range(count)), _vectors(range(count)))


def test_the_number_of_chunks_is_bounded_over_a_year(store, monkeypatch):
    monkeypatch.setattr(chunk_merge, "GRACE_SECONDS", -60)
    counts = []
    for night in range(100):
        _add_nights(store, 2 * night, 1, rows=2)
        merge_chunks(store, KIND, FILE, 20)
        for name in find_replaced_chunks(store, KIND, FILE):
            store.remove_artifact(KIND, name)
        counts.append(len(store.find_artifacts(KIND)))
    full = 200 // 20
    assert max(counts) <= MANY_CHUNKS + full
    assert torch.equal(_gather(store, range(200)), _vectors(range(200)))


def test_rows_in_two_chunks_are_merged_once(store):
    # two processes have computed the same rows in chunks of their own
    for start in range(MANY_CHUNKS):
        numbers = range(start, start + 3)
        rows = find_missing_rows(
            Store.open(store.layout.root, "study"), "none", [*map(_row, numbers)]
        )
        write_chunk(store, KIND, _vectors(numbers), rows, FILE)
    assert merge_chunks(store, KIND, FILE, 100)
    count = MANY_CHUNKS + 2
    assert torch.equal(_gather(store, range(count)), _vectors(range(count)))
    sizes = [len(chunk_merge.read_chunk_rows(f)) for f in store.find_artifacts(KIND).values()]
    assert max(sizes) == count
