"""The measured agreement of nested samples of curvature rows equals that of dense matrices."""

import pytest
import reference
import torch
from cases import case
from scipy.stats import pearsonr, spearmanr

from fastif import Dual, GaussNewton
from fastif.evaluation import curvature_agreement
from fastif.evaluation.curvature_agreement import (
    AgreementPoint,
    CurvatureAgreement,
    SampledInverse,
    list_owners,
    measure_curvature_agreement,
)
from fastif.gradients.per_example import compute_loss_gradients

COUNT, DAMPING = 40, 0.05
QUERIES = torch.tensor([1, 5, 6, 30])
ORDER = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3))
SUBSETS = [ORDER[:size].sort().values for size in (6, 12, 24)]


def measure(name, passes=50, batch_size=7, change=lambda rhs: rhs):
    made = case(name, COUNT, batch_size)
    full = GaussNewton(made.objective, made.train)
    sampled = GaussNewton(made.objective, made.train, SUBSETS[-1])
    kernel = Dual().factor(sampled.with_damping(DAMPING))["kernel"]
    inverse = SampledInverse(sampled, kernel, DAMPING, list_owners(sampled))
    rhs = compute_loss_gradients(full.gradients, made.train, QUERIES)
    coefficients = full.compute_factor_coefficients(made.train)
    arguments = inverse, full, coefficients, change(rhs), SUBSETS, passes
    return made, measure_curvature_agreement(*arguments)


def effects(made, rows=None):
    """Effects of all rows by the dense curvature of some of them."""
    train = reference.gradients(made.problem)
    matrix = reference.gauss_newton(made.problem, rows)
    return reference.removal_effects(train[QUERIES], train, matrix, DAMPING)


def top(values, size):
    return set(values.abs().argsort(descending=True)[:size].tolist())


@pytest.mark.default_cases("mlp")
@pytest.mark.parametrize("name", ["mlp", "softmax", "layernorm"])
def test_each_point_equals_that_of_dense_matrices(name, monkeypatch):
    monkeypatch.setattr(curvature_agreement, "TOLERANCE", 1e-10)
    made, agreement = measure(name)
    exact = effects(made)
    assert agreement.residual < 1e-9
    assert agreement.queries == len(QUERIES)
    for point, rows in zip(agreement.points, SUBSETS, strict=True):
        values = effects(made, rows.tolist())
        pairs = list(zip(values, exact, strict=True))
        assert point.rows == len(rows)
        mean = sum(pearsonr(a, b)[0] for a, b in pairs) / len(pairs)
        assert point.pearson == pytest.approx(mean, abs=1e-8)
        assert point.low <= point.pearson <= point.high
        ranks = sum(spearmanr(a, b)[0] for a, b in pairs) / len(pairs)
        assert point.spearman == pytest.approx(ranks, abs=1e-8)
        shared = sum(len(top(a, 10) & top(b, 10)) for a, b in pairs) / 10 / len(pairs)
        assert point.top_10 == pytest.approx(shared)
        assert point.top_100 == 1.0, "of 40 rows, all are among the first 100"
    assert len({point.pearson for point in agreement.points}) == 3


def test_few_passes_suffice_for_a_residual_of_one_percent():
    made, agreement = measure("softmax")
    assert agreement.residual <= curvature_agreement.TOLERANCE
    assert 2 <= agreement.passes <= 8
    exact = effects(made)
    sampled = effects(made, SUBSETS[-1].tolist())
    mean = sum(pearsonr(a, b)[0] for a, b in zip(sampled, exact, strict=True)) / len(QUERIES)
    assert agreement.in_use.pearson == pytest.approx(mean, abs=0.01)


def test_a_reference_that_does_not_converge_is_no_reference(monkeypatch):
    monkeypatch.setattr(curvature_agreement, "MAX_RESIDUAL", 1e-9)
    assert measure("mlp", passes=2)[1] is None


def test_queries_of_any_scale_count_alike_and_those_without_a_gradient_do_not():
    def change(rhs):
        unusable = [torch.zeros_like(rhs[:1]), rhs[:1] * torch.nan, rhs[:1] * torch.inf]
        return torch.cat([*unusable, rhs * torch.tensor([[1.0], [1e-24], [1e-12], [1e24]])])

    _, expected = measure("softmax")
    _, agreement = measure("softmax", change=change)
    assert agreement.queries == len(QUERIES)
    for point, other in zip(agreement.points, expected.points, strict=True):
        assert point.pearson == pytest.approx(other.pearson, abs=1e-5)
        assert point.top_10 == other.top_10
    assert measure("softmax", change=torch.zeros_like)[1] is None


@pytest.mark.parametrize(
    ("correlations", "expected"), [((0.6, 0.8), 0.9), ((0.8, 0.6), None), ((0.8,), None)]
)
def test_twice_the_rows_shrink_the_distance_by_the_last_factor(correlations, expected):
    points = tuple(AgreementPoint(9, value, 0.0, 1.0, 0.0, 0.0, 0.0) for value in correlations)
    estimate = CurvatureAgreement(points, 8, 0.0, 3).estimate_of_twice
    assert estimate == (None if expected is None else pytest.approx(expected))
