"""Exact search by torch, compared with FAISS' IndexFlat and with double precision."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pretended_device import DEVICE, Elsewhere

from fastif import CandidateIndex
from fastif.candidates import blocked_search, load_faiss
from fastif.candidates.blocked_search import search_nearest

EMPTY = (-1, torch.finfo(torch.float32).max)
"""Id and distance of an empty cell of an L2 search."""


def _draw(shape: tuple[int, int], seed: int, *, whole: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if whole:  # exact in every precision, and full of ties
        return torch.randint(-1, 2, shape, generator=generator).float()
    return torch.randn(shape, generator=generator)


@pytest.fixture(params=[1, 3, 64, 8192], ids="blocks of {}".format)
def block_size(request, monkeypatch) -> int:
    monkeypatch.setattr(blocked_search, "CHUNK_ROWS", request.param)
    return request.param


@pytest.mark.default_cases
@pytest.mark.parametrize("count", [3, 50], ids="{} queries".format)
@pytest.mark.parametrize("k", [1, 7, 130, 200])
def test_ids_and_distances_equal_those_of_index_flat_with_ties(block_size, count, k):
    rows, queries = _draw((200, 3), 0, whole=True), _draw((count, 3), 1, whole=True)
    expected = CandidateIndex.build(rows).search(queries, k)  # equal distances by id
    ids, distances = search_nearest(queries, rows, k, products=False)
    assert torch.equal(ids, expected.ids)
    assert distances.tolist() == expected.distances.tolist()


@pytest.mark.parametrize("products", [False, True])
def test_ids_and_distances_equal_those_of_index_flat_without_ties(block_size, products):
    rows, queries = _draw((300, 16), 0), _draw((9, 16), 1)
    expected = CandidateIndex.build(rows, products=products).search(queries, 40)
    ids, distances = search_nearest(queries, rows, 40, products=products)
    assert torch.equal(ids, expected.ids)
    torch.testing.assert_close(distances, expected.distances, rtol=1e-5, atol=1e-5)


@given(st.integers(1, 60), st.integers(1, 60), st.booleans(), st.integers(0, 10**6))
def test_order_is_by_distance_and_then_by_id(count, k, products, seed):
    rows, queries, k = (
        _draw((count, 2), seed, whole=True),
        _draw((2, 2), seed + 1, whole=True),
        min(k, count),
    )
    gaps = -queries @ rows.T if products else (queries[:, None] - rows).square().sum(2)
    ids, distances = search_nearest(queries, rows, k, products=products)
    assert ids.tolist() == gaps.argsort(dim=1, stable=True)[:, :k].tolist()
    best = gaps.gather(1, ids)
    assert torch.equal(distances, -best if products else best)


def test_duplicates_of_a_query_are_nearest_at_distance_zero_by_id(block_size):
    rows = 1000 + _draw((200, 24), 3)
    rows[[180, 20, 90]] = rows[7].clone()
    ids, distances = search_nearest(rows[7:8], rows, 5, products=False)
    assert ids[0, :4].tolist() == [7, 20, 90, 180]
    assert distances[0, :4].tolist() == [0.0] * 4
    exact = (rows.double() - rows[7].double()).square().sum(1)
    assert float(distances[0, 4]) == pytest.approx(float(exact.sort().values[4]), rel=1e-6)


def test_close_vectors_far_from_the_origin_are_told_apart():
    """Norms and products in single precision have an error of 10 here, at distances of 1e-4."""
    rows = 10_000 + torch.arange(40.0)[:, None] * torch.full((1, 8), 1 / 256)
    ids, _ = search_nearest(rows[5:6], rows, 40, products=False)
    assert ids[0].tolist() == np.argsort(np.abs(np.arange(40) - 5), kind="stable").tolist()


def test_overflowing_vectors_leave_empty_cells_as_in_index_flat():
    rows = torch.tensor([[1e30, 0.0], [1.0, 0.0], [torch.nan, 2.0], [-1e30, 0.0]])
    index = CandidateIndex.build(rows)
    expected = index.search(torch.zeros(1, 2), 4)
    with Elsewhere():
        actual = index.search(torch.zeros(1, 2).to(DEVICE), 4)
    assert torch.equal(actual.ids, expected.ids)
    assert actual.distances is not None
    assert actual.distances.tolist() == expected.distances.tolist()
    assert (int(actual.ids[0, 3]), float(actual.distances[0, 3])) == EMPTY


@pytest.mark.parametrize("products", [False, True])
def test_an_exact_index_is_searched_on_the_device_of_the_queries(products, monkeypatch):
    rows, queries = _draw((80, 4), 0), _draw((5, 4), 1)
    rows[3], queries[2] = torch.nan, torch.inf  # both count as 0
    index = CandidateIndex.build(rows, products=products)
    expected = index.search(queries, 11), index.search_top_bottom(queries, 9)
    flat = load_faiss().IndexFlat
    with Elsewhere():
        there = queries.to(DEVICE)
        monkeypatch.setattr(flat, "search", None)  # FAISS must not search
        actual = index.search(there, 11), index.search_top_bottom(there, 9)
    finite = torch.tensor([0, 1, 3, 4])  # the query of zeros has ties only
    for answer, reference in zip(actual, expected, strict=True):
        assert torch.equal(answer.ids[finite], reference.ids[finite])
    torch.testing.assert_close(actual[0].distances, expected[0].distances, rtol=1e-5, atol=1e-5)


def test_an_approximate_index_is_searched_by_faiss_for_queries_on_a_device():
    rows = _draw((200, 4), 0)
    index = CandidateIndex.build(rows, "IVF4,Flat")
    with Elsewhere():
        actual = index.search(rows[:3].to(DEVICE), 5)
    assert torch.equal(actual.ids, index.search(rows[:3], 5).ids)


def test_many_queries_take_smaller_blocks(monkeypatch):
    rows, queries = _draw((70, 3), 0), _draw((12, 3), 1)
    whole = search_nearest(queries, rows, 5, products=True)
    sizes = []
    multiply = blocked_search.multiply

    def measure(queries, rows):
        sizes.append(len(queries) * len(rows))
        return multiply(queries, rows)

    monkeypatch.setattr(blocked_search, "MAX_PRODUCTS", 100)
    monkeypatch.setattr(blocked_search, "multiply", measure)
    assert torch.equal(search_nearest(queries, rows, 5, products=True)[0], whole[0])
    assert max(sizes) <= 100
