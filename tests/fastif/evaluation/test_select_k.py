"""Smallest number of candidates with the target recall, against brute force."""

import pytest
import torch

from fastif import CandidateIndex, Influences, InputError, NearestNeighbors
from fastif.candidates import ClassQuota
from fastif.evaluation.select_k import make_k_grid, select_k

N, QUERIES = 400, 6


def _points(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def truth():
    """Effects that fall with the distance, but not by it alone: a scan, vectors and an index."""
    points, queries = _points(N, 0), _points(QUERIES, 1)
    gaps = torch.cdist(queries.double(), points.double())
    noise = torch.randn(gaps.shape, generator=torch.Generator().manual_seed(2)).double()
    effects = torch.exp(-gaps) * torch.exp(0.3 * noise) * noise.sign()
    order = effects.argsort(1)
    scanned = Influences(order, effects.gather(1, order))
    return scanned, effects, gaps, queries, NearestNeighbors(CandidateIndex.build(points), 1)


def _shares(effects, gaps, k):
    """Share of each query's top 100 by absolute effect among its k nearest, with plain sets."""
    shares = []
    for effect, gap in zip(effects.abs().tolist(), gaps.tolist(), strict=True):
        top = set(sorted(range(N), key=lambda i: -effect[i])[:100])
        shares.append(len(top & set(sorted(range(N), key=lambda i: gap[i])[:k])) / 100)
    return shares


@pytest.mark.parametrize("target", [0.01, 0.3, 0.6, 0.8, 1.0])
def test_the_smallest_k_with_the_target_recall_is_selected(truth, target):
    scanned, effects, gaps, rows, search = truth
    choice = select_k(search, rows, scanned, target, make_k_grid(N))
    means = {k: sum(_shares(effects, gaps, k)) / QUERIES for k in make_k_grid(N)}
    expected = next((k for k, mean in means.items() if mean >= target), None)
    assert choice.k == expected
    assert (choice.at, choice.queries, choice.target) == (100, QUERIES, target)
    assert [rung.k for rung in choice.tried] == [
        k for k in make_k_grid(N) if expected is None or k <= expected
    ]
    for rung in choice.tried:
        assert rung.share == pytest.approx(means[rung.k])
        assert rung.low <= rung.share <= rung.high
    assert {0.01: 4, 1.0: None}.get(target, choice.k) == choice.k


def test_queries_have_their_weight(truth):
    scanned, effects, gaps, rows, search = truth
    weights = torch.tensor([10.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    (rung,) = select_k(search, rows, scanned, 1.0, [80], weights).tried
    shares = torch.tensor(_shares(effects, gaps, 80))
    assert rung.share == pytest.approx(float(shares @ weights / weights.sum()), abs=1e-6)


def test_the_quota_of_the_method_is_kept(truth):
    scanned, _, _, rows, search = truth
    labels = (torch.arange(N) >= N - 20).long()
    plain = select_k(search, rows, scanned, 1.0, [40]).tried[0]
    fair = NearestNeighbors(search.index, 1, ClassQuota(labels, 0.5))
    ids = ClassQuota(labels, 0.5).search(search.index, rows, 40).ids
    top = scanned.ids.gather(1, scanned.removal_effect.abs().argsort(1, descending=True)[:, :100])
    shares = [len(set(a) & set(b)) / 100 for a, b in zip(top.tolist(), ids.tolist(), strict=True)]
    trial = select_k(fair, rows, scanned, 1.0, [40]).tried[0]
    assert trial.share == pytest.approx(sum(shares) / QUERIES)
    assert trial.share != plain.share


def test_without_queries_no_k_is_selected(truth):
    scanned, _, _, rows, search = truth
    none = Influences(scanned.ids[:0], scanned.removal_effect[:0])
    choice = select_k(search, rows[:0], none, 0.5, make_k_grid(N))
    assert (choice.k, choice.queries, choice.tried) == (None, 0, ())


@pytest.mark.parametrize("target", [0.0, 1.1])
def test_invalid_targets_are_refused(truth, target):
    scanned, _, _, rows, search = truth
    with pytest.raises(InputError, match="at most 1"):
        select_k(search, rows, scanned, target, make_k_grid(N))
