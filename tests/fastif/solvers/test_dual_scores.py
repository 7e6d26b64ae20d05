"""Dual scores in one pass, compared with dense matrices and with s_test."""

from dataclasses import replace

import pytest
import reference
import torch
from cases import NAMES, case
from torch import nn

from fastif import (
    Attributor,
    CrossEntropy,
    Dual,
    ExhaustiveSearch,
    GaussNewton,
    ModuleObjective,
    SmoothHinge,
    TensorExamples,
)
from fastif.attribution.scorers import GradientScorer, PrecomputedScorer
from fastif.attribution.slice_totals import SliceTotals
from fastif.candidates import Candidates
from fastif.losses.sqrt_hessian import gradient_in_sqrt_hessian
from fastif.solvers.dual_scores import make_dual_scorer
from fastif.solvers.gram import RoundingEstimator, compute_gram_matrix, make_shifted_inverse

QUERIES = torch.tensor([1, 5, 6])
DAMPING = 0.05


def _attributor(name, batch_size=4, **options):
    made = case(name, 12, batch_size)
    ids = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    operator = GaussNewton(made.objective, made.train, ids).with_damping(DAMPING)
    return Attributor(
        made.objective, made.train, operator, Dual(block_rows=8), leverage="off", **options
    ), made


def _dense(made):
    """Return queries [q p], s_test [q p], effects [q n] and the damped matrix."""
    train, matrix = reference.gradients(made.problem), reference.gauss_newton(made.problem)
    damped = matrix + DAMPING * torch.eye(len(matrix), dtype=matrix.dtype)
    solved = torch.linalg.solve(damped, train[QUERIES].T).T
    return train[QUERIES], solved, solved @ train.T / len(train), damped


@pytest.mark.default_cases
@pytest.mark.parametrize("batch_size", [1, 5, 32])
@pytest.mark.parametrize("name", NAMES)
def test_scores_and_diagnostics_equal_those_of_the_dense_matrix(name, batch_size):
    attributor, made = _attributor(name, batch_size)
    solved = attributor.solve_to_score(made.train, QUERIES)
    assert isinstance(solved.scorer, PrecomputedScorer), (
        "no training gradient is computed for scoring"
    )
    rhs, s_test, effects, _ = _dense(made)
    actual = solved.scorer.compute_effects(torch.arange(12))
    assert actual.finite.all()
    exact = (
        {"rtol": 1e-6, "atol": 1e-9}
        if rhs.dtype == actual.values.dtype
        else {"rtol": 1e-3, "atol": 1e-6}
    )
    torch.testing.assert_close(actual.values, effects.to(actual.values.dtype), **exact)
    evidence = solved.certificate
    norms, cosine = s_test.norm(dim=1), torch.cosine_similarity(rhs, s_test)
    torch.testing.assert_close(evidence.solution_norm.double(), norms.double(), rtol=1e-3, atol=0)
    torch.testing.assert_close(
        evidence.gradient_cosine.double(), cosine.double(), rtol=1e-3, atol=0
    )
    assert (evidence.residual < 1e-3).all()
    assert evidence.converged.all()
    assert evidence.steps == 1


def test_a_full_scan_takes_one_pass():
    attributor, made = _attributor("mlp", search=ExhaustiveSearch(3))
    factor = attributor.solver.factor(attributor.operator)
    swept = []

    class Counted(GaussNewton):
        def factor_rows(self, batch_index):
            swept.append(batch_index)
            return super().factor_rows(batch_index)

    operator = attributor.operator.operator
    counted = Counted(made.objective, made.train, operator.ids)
    call = replace(attributor, operator=counted.with_damping(DAMPING), factor=factor)
    call(made.train, QUERIES)
    assert swept == list(range(counted.num_batches))


def test_candidates_are_scored_without_gradients():
    attributor, made = _attributor("mlp")
    _, _, effects, _ = _dense(made)
    whole = attributor(made.train, QUERIES).influences
    order = effects.argsort(1)
    assert torch.equal(whole.ids, order)
    torch.testing.assert_close(whole.removal_effect.double(), effects.gather(1, order))


@pytest.mark.parametrize(
    "options",
    [
        {"solver": Dual(rank=30)},
        {"sample": torch.tensor([0, 2, 3, 5])},
        {"others": True},
        {"drop": True},
    ],
)
def test_s_test_is_computed_if_the_gram_matrix_does_not_determine_the_scores(options):
    attributor, made = _attributor("mlp")
    operator = attributor.operator
    if "solver" in options:
        attributor = replace(attributor, solver=options["solver"])
    if "sample" in options:
        sampled = replace(operator.operator, ids=options["sample"])
        attributor = replace(attributor, operator=sampled.with_damping(DAMPING))
    if "others" in options:
        again = case("mlp", 12).train
        other = TensorExamples(*[t.clone() for t in again.take(torch.arange(12)).values()])
        attributor = replace(attributor, train=other)
    if "drop" in options:
        made_before = dict(attributor.solver.factor(operator))
        del made_before["rounding"]
        attributor = replace(attributor, factor=made_before)
    assert isinstance(attributor.solve_to_score(made.train, QUERIES).scorer, GradientScorer)


def test_a_loss_with_a_gradient_but_no_curvature_is_detected():
    sure = torch.tensor([[0.0, 200.0], [0.0, 1.0], [200.0, 0.0]])
    coefficients = gradient_in_sqrt_hessian(CrossEntropy(), sure, torch.tensor([0, 0, 0]))
    assert torch.isfinite(coefficients).all(1).tolist() == [False, True, True]
    far = torch.tensor([[-500.0], [0.5]])
    assert torch.isfinite(
        gradient_in_sqrt_hessian(SmoothHinge(0.1), far, torch.tensor([1, 1]))
    ).all(1).tolist() == [
        False,
        True,
    ]


def test_nonfinite_rows_have_no_scores():
    torch.manual_seed(0)
    points = torch.randn(9, 3)
    points[4, 0] = torch.nan
    labels = torch.arange(9) % 3
    objective = ModuleObjective(nn.Linear(3, 3), CrossEntropy())
    train = TensorExamples(points, labels, batch_size=4)
    operator = GaussNewton(objective, train).with_damping(DAMPING)
    queries = TensorExamples(torch.randn(2, 3), torch.tensor([0, 1]))
    totals = SliceTotals.make_empty(torch.zeros(2).long(), 1, 9)
    attribution = Attributor(objective, train, operator, Dual(), leverage="off")(
        queries, torch.arange(2), totals.slices
    )
    assert attribution.influences.nonfinite_ids.tolist() == [4]
    assert torch.isfinite(attribution.influences.removal_effect).all()
    assert attribution.influences.ids.shape == (2, 8)
    assert attribution.totals is not None
    assert torch.isnan(attribution.totals.effects[0]).nonzero().flatten().tolist() == [4]
    rest = torch.tensor([0, 1, 2, 3, 5, 6, 7, 8])
    clean = TensorExamples(points[rest], labels[rest], batch_size=4)
    matrix = GaussNewton(objective, clean)
    # A row that counts as zero still counts in n.
    other = Attributor(
        objective, clean, matrix.with_damping(DAMPING * 9 / 8), Dual(), leverage="off"
    )
    expected = other(queries, torch.arange(2)).influences
    assert torch.equal(rest[expected.ids], attribution.influences.ids)


@pytest.mark.default_cases
@pytest.mark.parametrize("share", [0.5, 2.0], ids=["factors", "formed rows"])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_reported_residual_bounds_the_true_one_in_single_precision(seed, share, monkeypatch):
    monkeypatch.setattr("fastif.gradients.tile_structure.MIN_SHARE", share)
    torch.manual_seed(seed)
    points, labels = torch.randn(60, 40), torch.randint(3, (60,))
    net = nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 3))
    objective = ModuleObjective(net, CrossEntropy())
    train = TensorExamples(points, labels)
    double = ModuleObjective(net.double(), CrossEntropy())
    exact = GaussNewton(double, TensorExamples(points.double(), labels))
    rows = torch.cat(
        [t.gradients.clone() for k in range(exact.num_batches) for t in exact.factor_rows(k)]
    )
    matrix = rows.T @ rows / 60
    operator = GaussNewton(objective, train)
    query_ids = torch.arange(5)
    for damping in (1e-3, 1.0):
        call = Attributor(
            objective, train, operator.with_damping(damping), Dual(block_rows=32), leverage="off"
        )
        solved = call.solve_to_score(train, query_ids)
        assert isinstance(solved.scorer, PrecomputedScorer)
        # The error of a score is at most the residual / λ.
        taken = exact.gradients.compute_loss_tile(exact.examples.take(torch.arange(60))).gradients
        truth = torch.linalg.solve(
            matrix + damping * torch.eye(len(matrix)).double(), taken[query_ids].T
        ).T
        gap = (solved.scorer.scores.double() - truth @ taken.T).abs()
        bound = solved.certificate.residual.double() * taken[query_ids].norm(dim=1) / damping
        assert (gap <= bound[:, None] * taken.norm(dim=1)).all()
        assert (solved.certificate.residual < 1e-3).all()


def test_the_estimator_measures_injected_rounding():
    made = case("mlp", 12, 4)
    rooted = GaussNewton(made.objective, made.train)
    probe = RoundingEstimator(rooted)
    kernel = compute_gram_matrix(rooted, 1, estimator=probe)
    assert probe.estimate_rounding(kernel)[0] < 1e-12
    noise = 1e-3 * torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0)).double()
    estimate = float(probe.estimate_rounding(kernel + noise)[0])
    assert 0.6 < estimate / float(noise.norm()) < 1.6


def test_candidates_of_a_search_have_equal_scores():
    attributor, made = _attributor("mlp")
    _, _, effects, _ = _dense(made)
    scorer = attributor.solve_to_score(made.train, QUERIES).scorer
    from fastif.attribution.influence import mean_influence

    ids = torch.tensor([[0, 4, -1], [7, 7, 2], [1, 0, 11]])
    influences = mean_influence([scorer], Candidates(ids, torch.zeros(3, 3)))
    for row, (query, known) in enumerate(
        zip(influences.ids, influences.removal_effect, strict=True)
    ):
        for position, value in zip(query.tolist(), known.tolist(), strict=True):
            if position >= 0:
                assert value == pytest.approx(float(effects[row, position]), rel=1e-6)


@pytest.mark.parametrize("rounding", [(1e-6, 1e-6), (1e-1, 0.0), (0.0, 1e-2)])
def test_a_gram_matrix_with_too_much_rounding_gives_no_scores(rounding):
    """The bound ‖K‖^½ (‖δK‖ / (2 √w) + ε) / w from dense matrices is above 5e-3."""
    attributor, made = _attributor("mlp")
    rooted = attributor.operator.operator
    kernel = compute_gram_matrix(rooted, 2)
    weight = DAMPING * rooted.count
    added = rounding[0] * 2 / len(kernel) ** 0.5 / (2 * weight**0.5) + rounding[1]
    most = torch.linalg.matrix_norm(kernel, 2).sqrt() / weight * added
    at = rooted.compute_factor_coefficients(made.train)
    given = torch.tensor(rounding, dtype=torch.float64)
    scores = make_dual_scorer(attributor.operator, rooted, at, len(made.train), kernel, given)
    assert (scores is None) is bool(most > 5e-3)


def test_negative_eigenvalues_of_a_gram_matrix_count_as_zero():
    kernel = torch.diag(torch.tensor([2.0, -0.75], dtype=torch.float64))
    inverse = make_shifted_inverse(kernel, 0.5)
    rows = torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(inverse(rows), torch.diag(torch.tensor([0.4, 2.0]).double()))
