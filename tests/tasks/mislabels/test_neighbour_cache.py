"""Cached neighbours are those of a search, and belong to the content of the features."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from storage import Store
from tasks.mislabels import neighbour_cache
from tasks.mislabels.neighbour_cache import FILE, KIND, NeighbourCache

ROWS, K = 60, 5


def make_features(seed=0):
    return torch.randn(ROWS, 7, generator=torch.Generator().manual_seed(seed))


def compute_nearest(features, k):
    """Neighbours by the definition: the largest cosines of other rows, in double precision."""
    unit = features.double() / features.double().norm(dim=1, keepdim=True)
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    return cosines.argsort(1, descending=True)[:, :k]


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store", "s")


@pytest.fixture
def searches(monkeypatch):
    """Number of rows of each search; the searches are carried out."""
    real, counts = neighbour_cache.find_neighbours, []
    monkeypatch.setattr(
        neighbour_cache, "find_neighbours", lambda x, *a: counts.append(len(x)) or real(x, *a)
    )
    return counts


def search(store, features, k=K, procedure=1, min_rows=10):
    """Neighbours by a new cache, and the number of rows that were reported."""
    reported = []
    cache = NeighbourCache(store, procedure, min_rows)
    return cache(features, k, reported.append), sum(reported), cache


def test_a_second_detection_reads_the_neighbours(store, searches):
    for _ in range(2):
        neighbour_ids, reported, cache = search(store, make_features())
        assert neighbour_ids.equal(compute_nearest(make_features(), K))
        assert neighbour_ids.dtype == torch.long
        assert reported == ROWS
    assert searches == [ROWS]
    cache.clear()
    assert not store.find_artifacts(KIND)


def test_everything_that_changes_a_search_changes_the_key(store, searches):
    search(store, make_features())
    other = make_features()
    other[3, 4] = torch.nextafter(other[3, 4], torch.tensor(9.0))
    for changed in ({"features": other}, {"k": K + 1}, {"procedure": 2}):
        arguments = {"features": make_features(), **changed}
        neighbour_ids, _, _ = search(store, **arguments)
        assert neighbour_ids.equal(compute_nearest(arguments["features"], arguments.get("k", K)))
    search(store, make_features().view(-1, 14).repeat(2, 1))  # other neighbours, the same numbers
    assert len(searches) == 5
    assert len(store.find_artifacts(KIND)) == 5


def test_neighbours_of_another_detection_are_not_removed(store):
    _, _, first = search(store, make_features(0))
    _, _, second = search(store, make_features(1))
    second.clear()
    assert len(store.find_artifacts(KIND)) == 1
    first.clear()
    assert not store.find_artifacts(KIND)


def test_few_rows_are_searched_again(store, searches):
    for _ in range(2):
        search(store, make_features(), min_rows=ROWS + 1)
    assert searches == [ROWS, ROWS]
    assert not store.find_artifacts(KIND)


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [flip_bit, lambda path: path.write_bytes(b""), lambda path: path.unlink()]
)
def test_a_damaged_file_is_searched_again_and_replaced(store, searches, damage):
    search(store, make_features())
    (folder,) = store.find_artifacts(KIND).values()
    damage(folder / FILE)
    for _ in range(2):
        assert search(store, make_features())[0].equal(compute_nearest(make_features(), K))
    assert searches == [ROWS, ROWS]


@pytest.mark.parametrize(
    "tensors",
    [
        {"neighbours": torch.full((ROWS, K), ROWS, dtype=torch.int32)},
        {"neighbours": torch.full((ROWS, K), -1, dtype=torch.int32)},
        {"neighbours": torch.zeros(ROWS, K - 1, dtype=torch.int32)},
        {"others": torch.zeros(ROWS, K, dtype=torch.int32)},
    ],
)
def test_what_cannot_be_neighbours_is_searched_again(store, tensors):
    """A file of the right size whose bytes the store does not compare."""
    search(store, make_features())
    (digest,) = store.find_artifacts(KIND)
    store.remove_artifact(KIND, digest)
    store.write_artifact(KIND, digest, lambda folder: save_file(tensors, folder / FILE))
    assert search(store, make_features())[0].equal(compute_nearest(make_features(), K))


def test_tiles_have_no_effect_on_the_key(store, searches, monkeypatch):
    search(store, make_features())
    monkeypatch.setattr(neighbour_cache, "TILE_ROWS", 7)
    search(store, torch.from_numpy(np.asfortranarray(make_features().numpy())))
    assert searches == [ROWS]
