"""FAISS index against brute force, class quotas, and checks of the installed FAISS build."""

import math
import sys

import numpy as np
import pytest
import torch

from fastif import CandidateIndex, InputError
from fastif.candidates import ClassQuota, find_faiss_builds, load_faiss


def _points(n: int, width: int = 16, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, width, generator=generator)
    picked = torch.randint(8, (n,), generator=generator)
    return centres[picked] + 0.5 * torch.randn(n, width, generator=generator)


def _nearest(points: torch.Tensor, queries: torch.Tensor, k: int) -> np.ndarray:
    """Brute force, in double precision."""
    gaps = ((queries.double().numpy()[:, None] - points.double().numpy()[None]) ** 2).sum(-1)
    return gaps.argsort(1, kind="stable")[:, :k], np.sort(gaps, 1)[:, :k]


def test_flat_equals_brute_force():
    points, queries = _points(300), _points(20, seed=1)
    candidates = CandidateIndex.build(points, "Flat").search(queries, 17)
    ids, gaps = _nearest(points, queries, 17)
    assert candidates.ids.tolist() == ids.tolist()
    np.testing.assert_allclose(candidates.distances.numpy(), gaps, rtol=1e-4)
    assert len(candidates) == 20


def test_all_rows_can_be_requested():
    points = _points(30)
    candidates = CandidateIndex.build(points).search(points[:2], 30)
    assert [sorted(row) for row in candidates.ids.tolist()] == [list(range(30))] * 2


@pytest.mark.parametrize(
    ("factory", "least"), [("HNSW16", 0.9), ("IVF8,Flat", 0.5), ("PCA8,Flat", 0.4)]
)
def test_an_approximate_index_has_a_high_recall(factory, least):
    points, queries = _points(400), _points(30, seed=1)
    exact, _ = _nearest(points, queries, 10)
    candidates = CandidateIndex.build(points, factory).search(queries, 10).ids.tolist()
    hits = sum(len(set(a) & set(b)) for a, b in zip(candidates, exact.tolist(), strict=True))
    assert hits / exact.size >= least


def test_missing_neighbours_are_minus_one():
    points = torch.cat([torch.zeros(100, 4), torch.full((100, 4), 9.0)])
    points += 0.1 * _points(200, 4)
    candidates = CandidateIndex.build(points, "IVF2,Flat").search(points[:1], 150)
    assert (candidates.ids[0, :100] < 100).all()
    assert (candidates.ids[0, 100:] == -1).all()


@pytest.mark.parametrize("factory", ["Flat", "HNSW8", "IVF4,Flat"])
def test_a_saved_index_returns_equal_results(tmp_path, factory):
    points, queries = _points(200), _points(5, seed=1)
    index = CandidateIndex.build(points, factory)
    index.save(tmp_path / "index.faiss")
    loaded = CandidateIndex.load(tmp_path / "index.faiss")
    before, after = index.search(queries, 7), loaded.search(queries, 7)
    assert loaded.count == index.count == 200
    assert torch.equal(before.ids, after.ids)
    assert torch.equal(before.distances, after.distances)


@pytest.mark.parametrize("factory", ["Flatt", "", "IVF500,Flat", "PQ5", "IVFx,Flat"])
def test_a_factory_that_does_not_fit_is_refused_with_a_remedy(factory):
    with pytest.raises(InputError) as caught:
        CandidateIndex.build(_points(20), factory)
    assert caught.value.where == "[candidates] factory"
    assert repr(factory) in caught.value.got
    assert "20 rows of width 16" in caught.value.expected
    assert "Flat" in caught.value.remedy


@pytest.mark.parametrize(
    ("factory", "products", "why"),
    [
        ("IDMap,Flat", False, "must come with ids"),
        ("IDMap2,HNSW8", False, "must come with ids"),
        ("PCA8,IDMap,Flat", True, "must come with ids"),
        ("ZnLattice2x4_4", True, "does not search by inner products"),
        ("LSH", True, "METRIC_L2"),
        ("IMI2x2,Flat", True, "inner prod"),
        ("IVF300,Flat", False, "needs 300 rows or more"),
        ("PCA8,IVF300,Flat", True, "needs 300 rows or more"),
        ("IVF4,PQ4", False, "needs 256 rows or more"),
        ("PQ4,RFlat", False, "needs 256 rows or more"),
        ("NSG8", False, "needs 101 rows or more"),
        ("ZnLattice2x4_4", False, "cannot read back"),
        ("HNSW0", False, "2 to 512 links of a vector"),
        ("IVF2_HNSW1,Flat", False, "2 to 512 links of a vector"),
        ("IVF0,Flat", False, "1 to .* cells"),
        ("RR999999999,Flat", True, "columns of a rotation"),
        ("PCA17,Flat", True, "PCA keeps 1 to 16 columns"),
    ],
)
def test_a_factory_is_refused_without_any_rows(factory, products, why):
    """Indexes that FAISS makes silently but cannot fill, or that use another metric."""
    with pytest.raises(InputError, match=why) as caught:
        CandidateIndex.check(factory, 16, 100, products=products)
    assert caught.value.where == "[candidates] factory"
    with pytest.raises(InputError, match="factory"):
        CandidateIndex.build(_points(100), factory, products=products)


@pytest.mark.default_cases(
    "Flat-True",
    "HNSW8-False",
    "IVF4,Flat-True",
    "PCA8,Flat-False",
    "SQ8-True",
    "PQ4x4-False",
    "PQ4x4,RFlat-True",
    "RaBitQ-False",
)
@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize(
    "factory",
    ["Flat", "HNSW8", "IVF4,Flat", "PCA8,Flat", "SQ8", "PQ4x4", "HNSW8,RFlat", "IVF4_HNSW8,Flat",
     "L2norm,Flat", "IVF4,PQ4x4", "PQ4x4,RFlat", "RaBitQ"],
)  # fmt: skip
def test_a_checked_factory_can_be_built_and_searched(factory, products):
    CandidateIndex.check(factory, 16, 100, products=products)
    index = CandidateIndex.build(_points(100), factory, products=products)
    assert index.search(_points(3), 5).ids.shape == (3, 5)


def _install(folder, name: str) -> None:
    """Write the metadata that pip leaves for an installed distribution."""
    info = folder / f"{name.replace('-', '_')}-1.99.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.99.0\n")


def test_one_build_is_found_and_loaded():
    assert len(find_faiss_builds()) == 1
    assert load_faiss().__name__ == "faiss"


def test_two_builds_side_by_side_are_refused(tmp_path, monkeypatch):
    missing = ({"faiss-cpu", "faiss-gpu"} - set(find_faiss_builds())).pop()
    _install(tmp_path, missing)
    monkeypatch.syspath_prepend(tmp_path)
    assert find_faiss_builds()[missing] == "1.99.0"
    with pytest.raises(InputError, match=f"exactly one.*{missing} 1.99.0.*pip uninstall") as caught:
        CandidateIndex.build(_points(5))
    assert " and " in caught.value.got


def test_no_build_at_all_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "path", [])  # where installed distributions are looked for
    assert find_faiss_builds() == {}
    with pytest.raises(InputError, match=r"got neither.*install fastif\[cpu\] or fastif\[gpu\]"):
        load_faiss()


def test_top_and_bottom_k_equal_brute_force():
    points, queries = _points(200), _points(9, seed=2)
    index = CandidateIndex.build(points, products=True)
    order = (queries.double() @ points.double().T).argsort(1)
    candidates = index.search_top_bottom(queries, 11)
    assert candidates.distances is None
    for ids, row in zip(candidates.ids.tolist(), order.tolist(), strict=True):
        assert set(ids) == set(row[:5]) | set(row[-6:])
    ranked = index.search_top_bottom(queries, 200).ids
    assert [sorted(row) for row in ranked.tolist()] == [list(range(200))] * 9


def test_a_row_at_either_end_is_returned_once():
    points = torch.ones(4, 3)  # all products are equal
    ids = CandidateIndex.build(points, products=True).search_top_bottom(torch.ones(1, 3), 4).ids[0]
    scored_ids = ids[ids >= 0].tolist()
    assert len(scored_ids) == len(set(scored_ids))


def _select_with_quota(order: list[int], labels: list[int], least: int, k: int) -> set[int]:
    """First `least` of each label in this order, then the first others up to k."""
    selected = set()
    for label in set(labels):
        selected |= set([i for i in order if labels[i] == label][:least])
    return selected | set([i for i in order if i not in selected][: k - len(selected)])


LABELS = [0] * 150 + [1] * 47 + [2] * 3
"""Labels of 200 points; the third label has fewer points than its quota."""


@pytest.mark.parametrize(("k", "share"), [(20, 0.25), (10, 1 / 3), (7, 0.15), (200, 0.3)])
def test_quotas_equal_brute_force_by_label(k, share):
    points, queries = _points(200), _points(9, seed=2)
    points[150:] += 9.0  # far from every query, so that only the quota selects labels 1 and 2
    index, quota = CandidateIndex.build(points), ClassQuota(torch.tensor(LABELS), share)
    candidates = quota.search(index, queries, k)
    order, gaps = _nearest(points, queries, 200)
    least = math.floor(share * k + 1e-9)
    for row, ids in enumerate(candidates.ids.tolist()):
        assert set(ids) == _select_with_quota(order[row].tolist(), LABELS, least, k)
        counts = [sum(LABELS[i] == label for i in ids) for label in range(3)]
        assert counts[1] >= min(least, 47)
        assert counts[2] == min(least, 3) or k == 200
        place = dict(zip(order[row], gaps[row], strict=True))
        expected = [place[i] for i in ids]
        np.testing.assert_allclose(candidates.distances[row].numpy(), expected, rtol=1e-4)
        assert expected == sorted(expected)


@pytest.mark.parametrize(
    ("k", "share"), [(20, 0.25), (11, 0.3), (9, 1 / 3), (3, 1 / 3), (200, 0.3)]
)
def test_quotas_of_top_and_bottom_k_equal_brute_force(k, share):
    points, queries = _points(200), _points(9, seed=2)
    points[150:] *= 0.01  # no large products, so that only the quota selects labels 1 and 2
    index = CandidateIndex.build(points, products=True)
    candidates = ClassQuota(torch.tensor(LABELS), share).search_top_bottom(index, queries, k).ids
    products = (queries.double() @ points.double().T).tolist()
    for row, ids in zip(products, candidates.tolist(), strict=True):
        high = sorted(range(200), key=lambda i: -row[i])
        top, bottom = set(), set()
        for label in range(3):
            label_ids = [i for i in high if LABELS[i] == label]
            least = min(math.floor(share * k + 1e-9), len(label_ids))
            top |= set(label_ids[: least - least // 2])
            bottom |= set(label_ids[len(label_ids) - least // 2 :])
        for i in high:
            if len(top) < k - k // 2 and i not in bottom:
                top.add(i)
        for i in reversed(high):
            if len(top) + len(bottom) < k and i not in top:
                bottom.add(i)
        assert len(ids) == len(set(ids)) == k
        assert set(ids) == top | bottom


def test_a_quota_already_met_changes_nothing():
    points, queries = _points(200), _points(9, seed=2)
    index, quota = CandidateIndex.build(points), ClassQuota(torch.arange(200) % 2, 0.1)
    assert torch.equal(quota.search(index, queries, 20).ids, index.search(queries, 20).ids)


def test_a_quota_of_an_approximate_index_is_filled_as_far_as_possible():
    points = torch.cat([torch.zeros(100, 4), torch.full((100, 4), 9.0)])
    points += 0.1 * _points(200, 4)
    index = CandidateIndex.build(points, "IVF2,Flat")  # probes one of two cells
    quota = ClassQuota(torch.arange(200) // 100, 0.5)
    (ids,) = quota.search(index, points[:1], 10).ids.tolist()
    assert all(0 <= i < 100 for i in ids)


def test_invalid_quotas_are_refused():
    ClassQuota(torch.tensor([0, 1, 2]), 1 / 3)
    for share in (0.4, 0.0, -1.0):
        with pytest.raises(InputError, match="since there are 3 labels"):
            ClassQuota(torch.tensor([0, 1, 2]), share)
