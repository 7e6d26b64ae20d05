"""Recall against sets counted by hand, and its interval against the binomial distribution."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import beta, binomtest

from fastif.attribution.influence import NO_EXAMPLE, Influences
from fastif.evaluation.recall import compute_recall
from fastif.numerics.mean_confidence_interval import mean_confidence_interval
from fastif.numerics.stratified_sample import raking_weights, stratified_sample


def _scan(rows, scale=None):
    """A full scan with the given effects, most harmful first; with a scale by ranking score."""
    effects = torch.tensor(rows)
    scores = effects if scale is None else effects * torch.tensor(scale)
    order = scores.argsort(1)
    ranking_score = None if scale is None else scores.gather(1, order)
    return Influences(order, effects.gather(1, order), ranking_score=ranking_score)


def test_recall_equals_a_count_by_hand():
    scanned = _scan([[0.1, -5.0, 3.0, 0.2, -0.3], [4.0, 0.0, 0.1, -2.0, 1.0]])
    # The largest three by size: 1, 2, 4 of the first query, 0, 3, 4 of the second.
    candidates = [torch.tensor([1, 0, 3]), torch.tensor([0, 3, 4, 1])]
    two, three = compute_recall(candidates, scanned, at=(2, 3))
    assert (two.at, two.queries, two.share) == (2, 2, pytest.approx((1 / 2 + 1) / 2))
    assert three.share == pytest.approx((1 / 3 + 1) / 2)
    assert three.low < three.share < three.high
    assert (two.method, two.label, two.slice, two.rest, two.chance) == (None,) * 5


def test_recall_is_that_of_the_stored_ranking():
    effects = [[0.1, -5.0, 3.0, 0.2, -0.3]]
    scanned = _scan(effects, [100.0, 0.01, 1.0, 0.1, 10.0])  # ranking scores 10, -.05, 3, .02, -3
    (entry,) = compute_recall([torch.tensor([0, 1])], scanned, at=(1,))
    assert entry.share == 1.0
    (entry,) = compute_recall([torch.tensor([1, 3])], scanned, at=(3,))
    assert entry.share == 0.0


def test_recall_at_all_rows_ignores_rows_without_a_score():
    scanned = _scan([[1.0, -2.0, 0.5]])
    (entry,) = compute_recall([torch.tensor([0, 1, 2])], scanned, at=(10, 100))
    assert (entry.at, entry.share) == (3, 1.0)
    ids = torch.tensor([[1, 0, NO_EXAMPLE]])
    broken = Influences(ids, torch.tensor([[-2.0, 1.0, torch.inf]]))
    (entry,) = compute_recall([torch.tensor([0, 1])], broken, at=(2,))
    assert entry.share == 1.0


def test_queries_have_their_weight():
    scanned = _scan([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    candidates = [torch.tensor([0]), torch.tensor([1]), torch.tensor([1])]
    (entry,) = compute_recall(candidates, scanned, at=(1,), weights=torch.tensor([6.0, 1.0, 1.0]))
    assert entry.share == pytest.approx(6 / 8)


def test_a_group_with_low_recall_has_a_small_p_value():
    """Eight queries, where those of one label have recall 0; p-value by enumeration of subsets."""
    scanned = _scan([[1.0, 0.0]] * 8)
    hits = [1, 1, 1, 0, 1, 0, 0, 0]
    candidates = [torch.tensor([1 - hit]) for hit in hits]
    label = ["a", "a", "a", "a", "b", "b", "b", "b"]
    groups = {"label": label, "slice": [None] * 8}
    everything, a, b = compute_recall(candidates, scanned, at=(1,), groups=groups)
    assert everything.share == 0.5
    assert (a.label, a.queries, a.share, a.rest) == ("a", 4, 0.75, 0.25)
    assert (b.label, b.slice, b.queries, b.share, b.rest) == ("b", None, 4, 0.25, 0.75)
    subsets = list(itertools.combinations(hits, 4))
    assert b.chance == pytest.approx(sum(sum(s) <= 1 for s in subsets) / len(subsets))
    assert a.chance == pytest.approx(sum(sum(s) <= 3 for s in subsets) / len(subsets))


def test_a_group_of_one_query_has_no_p_value():
    scanned = _scan([[1.0, -2.0], [1.0, -2.0], [1.0, -2.0]])
    candidates = [torch.tensor([1]), torch.tensor([0]), torch.tensor([1])]
    _, a, b = compute_recall(candidates, scanned, at=(1,), groups={"label": ["a", "b", "a"]})
    assert (a.share, a.rest, a.chance) == (1.0, 0.0, None)
    assert (b.share, b.rest, b.chance) == (0.0, 1.0, None)


def test_one_group_for_all_has_no_rest():
    candidates, scanned = [torch.tensor([0])] * 2, _scan([[1.0, 0.0]] * 2)
    *_, alone = compute_recall(candidates, scanned, at=(1,), groups={"slice": ["x", "x"]})
    assert (alone.slice, alone.share, alone.rest, alone.chance) == ("x", 1.0, None, None)


@pytest.mark.parametrize(("hits", "count"), [(0, 8), (8, 8), (3, 8), (17, 40)])
def test_bounds_of_zeros_and_ones_equal_clopper_pearson(hits, count):
    expected = binomtest(hits, count).proportion_ci(method="exact")
    bounds = mean_confidence_interval(torch.tensor([1.0] * hits + [0.0] * (count - hits)))
    assert bounds == pytest.approx((expected.low, expected.high), abs=0.01)


def test_bounds_are_not_narrower_than_possible():
    """All eight are 0.8: with 37 % of zeros among the rest this still happens once in forty."""
    rare = 1 - 0.025 ** (1 / 8)
    low, high = mean_confidence_interval(torch.full((8,), 0.8))
    assert (low, high) == pytest.approx((0.8 * (1 - rare), 0.8 + 0.2 * rare), abs=0.01)


def _two_points(q, rng):
    return np.where(rng.random(q) < 0.9, 0.95, 0.0)


@pytest.mark.long
@pytest.mark.parametrize(
    "q", [8, pytest.param(4, marks=pytest.mark.long), pytest.param(16, marks=pytest.mark.long)]
)
@pytest.mark.parametrize(
    ("mean", "sample"),
    [
        (8 / 8.5, lambda q, rng: beta.rvs(8, 0.5, size=q, random_state=rng)),
        (0.9 * 0.95, _two_points),
        (0.95, lambda q, rng: (rng.random(q) < 0.95) * 1.0),
    ],
)
def test_the_interval_has_its_nominal_coverage(q, mean, sample):
    rng = np.random.default_rng(0)
    bounds = [mean_confidence_interval(torch.from_numpy(sample(q, rng))) for _ in range(200)]
    assert np.mean([low <= mean <= high for low, high in bounds]) >= 0.95


def test_the_weighted_interval_has_its_nominal_coverage():
    """A rare stratum with recall 0.5 is sampled as often as a common one with recall near 1."""
    rng, mean, weights = np.random.default_rng(0), 0.9 * 0.95 + 0.1 * 0.5, [9.0] * 4 + [1.0] * 4
    covered = []
    for _ in range(200):
        values = np.r_[beta.rvs(9.5, 0.5, size=4, random_state=rng), rng.random(4)]
        low, high = mean_confidence_interval(torch.from_numpy(values), torch.tensor(weights))
        covered.append(low <= mean <= high)
    assert np.mean(covered) >= 0.95


LABELS = ["a"] * 60 + ["b"] * 38 + ["c"] * 2
SLICES = [["x", "y", None, "y"][i % 4] for i in range(99)] + ["z"]


def test_every_group_is_sampled_and_the_rest_by_size():
    sampled = stratified_sample([LABELS, SLICES], 20, seed=0)
    assert len(sampled) == len(set(sampled.tolist())) == 20
    labels = Counter(LABELS[i] for i in sampled)
    assert labels["c"] >= 1
    assert abs(labels["a"] - 12) <= 1
    assert abs(labels["b"] - 7.6) <= 1
    assert {SLICES[i] for i in sampled} == {"x", "y", "z", None}
    assert torch.equal(sampled, stratified_sample([LABELS, SLICES], 20, seed=0))
    assert not torch.equal(sampled, stratified_sample([LABELS, SLICES], 20, seed=1))


def test_labels_are_sampled_before_slices():
    assert {LABELS[i] for i in stratified_sample([LABELS, SLICES], 3, seed=0)} == {"a", "b", "c"}
    assert stratified_sample([["a", "b"]], 9, seed=0).tolist() == [0, 1]


def test_rows_of_a_group_are_sampled_uniformly():
    counts = Counter()
    for seed in range(400):
        counts.update(stratified_sample([["a"] * 6 + ["b"] * 2], 4, seed).tolist())
    assert [counts[i] / 400 for i in range(8)] == pytest.approx([0.5] * 8, abs=0.08)


def _totals(column, sampled, weights):
    cells = [column[i] for i in sampled.tolist()]
    return {
        value: float(weights[torch.tensor([cell == value for cell in cells])].sum())
        for value in set(cells)
    }


def test_raking_weights_have_the_totals_of_all_rows():
    sampled = stratified_sample([LABELS, SLICES], 20, seed=0)
    weights = raking_weights([LABELS, SLICES], sampled)
    assert _totals(LABELS, sampled, weights) == pytest.approx(Counter(LABELS))
    # The only sampled row of c is that of z: its weight is two by the one grouping, one by the
    # other.
    assert _totals(SLICES, sampled, weights) == pytest.approx(Counter(SLICES), abs=1.1)
    crossed = [["a", "a", "b", "b"] * 5, ["x", "y"] * 10]
    sampled = torch.tensor([0, 1, 2, 3, 4])
    weights = raking_weights(crossed, sampled)
    for column in crossed:
        assert _totals(column, sampled, weights) == pytest.approx(dict.fromkeys(set(column), 10))
