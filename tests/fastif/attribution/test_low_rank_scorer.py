"""Low-rank scorer: exact at full rank, optimal below, with the error in the certificate."""

import pytest
import reference
import torch
from cases import case
from scipy.stats import spearmanr
from torch import nn

from fastif import (
    Attributor,
    CrossEntropy,
    Direct,
    Dual,
    ExhaustiveSearch,
    GaussNewton,
    Gradients,
    InputError,
    ModuleObjective,
    TensorExamples,
    all_ids,
)
from fastif.attribution.control_sample import select_control_ids
from fastif.attribution.low_rank_scorer import LowRankFactors, LowRankScorer, make_low_rank_scorer
from fastif.attribution.scorers import GradientScorer

DAMPING = 0.05


def _truth(made):
    """Dense training gradients [n p] and their s_test."""
    rows, matrix = reference.gradients(made.problem), reference.gauss_newton(made.problem)
    return rows, torch.linalg.solve(
        matrix + DAMPING * torch.eye(len(matrix), dtype=matrix.dtype), rows.T
    ).T


@pytest.mark.default_cases
@pytest.mark.parametrize("name", ["mlp", "layernorm", "embedding", "twice", "conv", "bert"])
@pytest.mark.parametrize("rank", [1, 2, 50])
def test_scores_equal_those_of_truncated_svd(name, rank):
    made = case(name)
    rows, s_test = _truth(made)
    s_test = s_test[:4]
    scorer = GradientScorer(Gradients(made.objective), made.train, s_test.to(made.objective.like))
    lowered = make_low_rank_scorer(scorer, rank)
    assert isinstance(lowered, LowRankScorer)
    cut, space = s_test.clone(), made.objective.space
    for key, where, shape in zip(space.names, space.slices, space.shapes, strict=True):
        layer = made.objective.module.get_submodule(key.rpartition(".")[0])
        if isinstance(layer, nn.Linear) and len(shape) == 2:
            for query in range(4):
                u, s, v = torch.linalg.svd(s_test[query, where].reshape(shape), full_matrices=False)
                cut[query, where] = ((u[:, :rank] * s[:rank]) @ v[:rank]).flatten()
    expected = cut @ rows.T / len(rows)
    for ids in (torch.arange(len(rows)), torch.tensor([3, 0])):
        actual = lowered.compute_effects(ids)
        assert actual.finite.all()
        gap = (actual.values - expected[:, ids]).abs().max()
        assert gap < 1e-4 * expected.abs().max()


def test_factors_of_low_rank_matrices_are_exact():
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(5, 3, n, generator=generator).double() for n in (40, 60))
    matrices = left.mT @ right
    factors = LowRankFactors.from_matrices(matrices, 3)
    torch.testing.assert_close(factors.left.mT @ factors.right, matrices)


def test_the_certificate_records_the_loss_of_accuracy():
    made = case("mlp", 12)
    operator = GaussNewton(made.objective, made.train).with_damping(DAMPING)
    ids = all_ids(made.train)
    actual, exact = (
        Attributor(
            made.objective,
            made.train,
            operator,
            Direct(),
            ExhaustiveSearch(None, rank=rank),
            leverage="off",
        )(made.train, ids)
        for rank in (1, None)
    )
    assert exact.certificate.rounding is None
    sampled = select_control_ids(12)
    low, full = (
        torch.empty(12, 12, dtype=torch.float64).scatter_(
            1, answer.influences.ids, answer.influences.removal_effect.double()
        )[:, sampled]
        for answer in (actual, exact)
    )
    expected = [spearmanr(a, b).statistic for a, b in zip(low, full, strict=True)]
    assert actual.certificate.rounding.tolist() == pytest.approx(expected, abs=1e-6)
    assert actual.certificate.rounding.min() < 0.999


def test_precomputed_scores_and_backward_gradients_stay_exact():
    made = case("outside")
    rows = torch.zeros(1, made.objective.space.size, dtype=torch.float64)
    scorer = GradientScorer(Gradients(made.objective), made.train, rows)
    assert make_low_rank_scorer(scorer, 1) is scorer
    made = case("mlp")
    operator = GaussNewton(made.objective, made.train).with_damping(DAMPING)
    search = ExhaustiveSearch(None, rank=1)
    attributor = Attributor(made.objective, made.train, operator, Dual(), search, leverage="off")
    assert attributor(made.train, all_ids(made.train)).certificate.rounding is None


def test_nonfinite_gradients_are_masked():
    torch.manual_seed(0)
    points, labels = torch.randn(7, 5), torch.arange(7) % 3
    points[2] = torch.inf
    objective = ModuleObjective(nn.Linear(5, 3), CrossEntropy())
    train = TensorExamples(points, labels)
    s_test = torch.randn(2, objective.space.size)
    gradients = Gradients(objective)
    gradients.per_example_backward = False
    actual = make_low_rank_scorer(GradientScorer(gradients, train, s_test), 1).compute_effects(
        torch.arange(7)
    )
    assert actual.finite.tolist() == [True, True, False, True, True, True, True]


def test_an_invalid_rank_is_refused():
    with pytest.raises(InputError):
        ExhaustiveSearch(rank=0)
