"""A nonfinite query or training example is reported, and all others are unaffected."""

import pytest
import reference
import torch
from torch import nn

from fastif import (
    Attributor,
    CandidateIndex,
    ConjugateGradient,
    CrossEntropy,
    Direct,
    Dual,
    ExhaustiveSearch,
    GaussNewton,
    Gradients,
    Hessian,
    Lissa,
    ModuleObjective,
    NearestNeighbors,
    SquaredError,
    TensorExamples,
    all_ids,
    compute_embeddings,
)
from fastif.attribution.influence import NO_EXAMPLE
from fastif.solvers import Solver

N, BROKEN = 14, 3
SOLVERS = [Direct(), Dual(), ConjugateGradient(1e-10), Lissa(40, batch=4, scale=4.0)]
HUGE = [torch.inf, torch.nan, 1e308]
EVERYTHING = ExhaustiveSearch()


def _examples(n: int, seed: int, **spoilt: float) -> TensorExamples:
    """Points with three features; `spoilt` maps x3 to the value in row 3."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    for row, value in spoilt.items():
        points[int(row[1:]), 1] = value
    return TensorExamples(points, torch.randint(3, (n,), generator=generator))


def _objective() -> ModuleObjective:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 3)).double()
        net[0].weight.data[:, 1] = 3.0  # 3 x 1e308 overflows
    return ModuleObjective(net, CrossEntropy())


def _attributor(train: TensorExamples, solver: Solver, search=EVERYTHING, **options):
    objective, train = _objective(), train.with_batch_size(4)
    operator = GaussNewton(objective, train).with_damping(0.1)
    return Attributor(objective, train, operator, solver, search, leverage="off", **options)


def _check_same(actual, expected, rows: list[int]) -> None:
    assert torch.equal(actual.influences.ids[rows], expected.influences.ids)
    for name in ("residual", "gradient_norm", "solution_norm", "score_correlation"):
        torch.testing.assert_close(
            getattr(actual.certificate, name)[rows], getattr(expected.certificate, name)
        )
    torch.testing.assert_close(
        actual.influences.removal_effect[rows], expected.influences.removal_effect
    )


@pytest.mark.default_cases
@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.kind)
def test_a_nonfinite_query_is_quarantined_and_the_others_are_unaffected(solver, value):
    train = _examples(N, 0)
    attributor = _attributor(train, solver)
    queries = _examples(5, 1, x2=value)
    attribution = attributor(queries, all_ids(queries))
    certificate = attribution.certificate
    assert certificate.quarantined.tolist() == [False, False, True, False, False]
    assert certificate.converged.tolist()[2] is False
    assert "gradient is not finite" in str(certificate.reasons[2])
    assert (attribution.influences.ids[2] == NO_EXAMPLE).all()
    for name in ("residual", "full_residual", "solution_norm", "gradient_cosine"):
        assert torch.isnan(getattr(certificate, name)[2]), name
    assert not certificate.resembles_gradient_product[2]
    rest = torch.tensor([0, 1, 3, 4])
    _check_same(attribution, attributor(_examples(5, 1), rest), rest.tolist())


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.kind)
def test_nonfinite_queries_are_all_quarantined(solver):
    queries = _examples(2, 1, x0=torch.nan, x1=torch.inf)
    attribution = _attributor(_examples(N, 0), solver)(queries, all_ids(queries))
    assert attribution.certificate.quarantined.all()
    assert not attribution.certificate.converged.any()
    assert (attribution.influences.ids == NO_EXAMPLE).all()


def test_a_solve_that_diverges_is_quarantined_with_its_remedy():
    train = _examples(N, 0)
    solver = Lissa(5000, scale=0.01)
    attribution = _attributor(train, solver)(train, torch.arange(3))
    assert attribution.certificate.quarantined.all()
    for reason in attribution.certificate.reasons:
        assert "diverged" in str(reason)
        assert solver.remedy in str(reason)
    assert torch.isfinite(attribution.certificate.gradient_norm).all()
    assert torch.isnan(attribution.certificate.residual).all()


@pytest.mark.default_cases
@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize("search", ["everything", "top and bottom 2", "nearest"])
@pytest.mark.parametrize("solver", SOLVERS[:3], ids=lambda s: s.kind)
def test_a_nonfinite_training_example_is_left_out_and_reported(solver, search, value):
    """The reference is dense over the other rows; a nonfinite row adds nothing to a mean."""
    train = _examples(N, 0, **{f"x{BROKEN}": value})
    objective = _objective()
    index = CandidateIndex.build(compute_embeddings(objective, train, all_ids(train)))
    kind = {
        "everything": ExhaustiveSearch(),
        "top and bottom 2": ExhaustiveSearch(2),
        "nearest": NearestNeighbors(index, N),
    }
    queries = _examples(5, 1)
    attribution = _attributor(train, solver, kind[search])(queries, all_ids(queries))
    assert attribution.influences.nonfinite_ids.tolist() == [BROKEN]
    assert attribution.certificate.dropped.tolist() == [1] * 5
    assert not attribution.certificate.quarantined.any()
    whole = _examples(N, 0)
    query_problem, known = (
        reference.Problem(
            objective.module,
            objective.space.names,
            list(e.inputs.split(1)),
            list(e.labels.split(1)),
            reference.cross_entropy,
        )
        for e in (queries, whole)
    )
    others = [i for i in range(N) if i != BROKEN]
    matrix = reference.gauss_newton(known, others) * (N - 1) / N
    truth = reference.removal_effects(
        reference.gradients(query_problem), reference.gradients(known), matrix, 0.1
    )
    ids = attribution.influences.ids
    valid = ids != NO_EXAMPLE
    assert BROKEN not in ids
    assert valid.sum(1).tolist() == [4 if search == "top and bottom 2" else N - 1] * 5
    expected = truth.gather(1, ids.clamp_min(0))
    torch.testing.assert_close(attribution.influences.removal_effect[valid], expected[valid])
    if search == "top and bottom 2":
        order = truth[:, others].argsort(1)
        picked = torch.tensor(others)[torch.cat([order[:, :2], order[:, -2:]], 1)]
        assert torch.equal(ids, picked)


def test_a_nonfinite_training_example_adds_nothing_to_a_hessian():
    train, sound = _examples(N, 0, x3=torch.inf), _examples(N, 0)
    objective = _objective()
    others = torch.tensor([i for i in range(N) if i != BROKEN])
    broken = Hessian(objective, train.with_batch_size(4)).to_dense()
    torch.testing.assert_close(broken, Hessian(objective, sound, others).to_dense() * (N - 1) / N)
    only = Hessian(objective, train, torch.tensor([BROKEN]))
    assert not only.to_dense().any()


def test_a_pair_that_overflows_costs_the_query_its_scores_and_no_other():
    """A huge target gives a huge gradient and an ordinary curvature."""
    generator = torch.Generator().manual_seed(0)
    points, targets = (torch.randn(8, 1, generator=generator) for _ in range(2))
    targets[4] = 1e32
    train = TensorExamples(points, targets)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = ModuleObjective(nn.Linear(1, 1), SquaredError())
    queries = TensorExamples(torch.ones(3, 1), torch.tensor([[1.0], [1e12], [2.0]]))
    operator = GaussNewton(objective, train).with_damping(0.1)
    for search in (ExhaustiveSearch(), ExhaustiveSearch(1)):
        attribution = Attributor(objective, train, operator, Direct(), search, leverage="off")(
            queries, all_ids(queries)
        )
        reasons = attribution.certificate.reasons
        assert (reasons[0], reasons[2]) == (None, None)
        assert "too large" in str(reasons[1])
        assert attribution.certificate.converged.tolist() == [True, False, True]
        assert (attribution.influences.ids[1] == NO_EXAMPLE).all()
        assert torch.isfinite(attribution.influences.removal_effect[[0, 2]]).all()
        assert attribution.influences.nonfinite_ids.tolist() == []
        assert 4 in attribution.influences.ids[0], "huge but finite, so it is scored"


def test_nonfinite_examples_do_not_decide_the_route_of_gradients():
    """NaN in the first checked batch must not be taken for a model that hooks do not support."""
    train = _examples(6, 0, x0=torch.inf, x1=torch.nan)
    gradients = Gradients(_objective())
    gradients.compute_loss_tile(train.take(torch.arange(2)))
    assert gradients.per_example_backward is None
    first = gradients.compute_loss_tile(train.take(torch.arange(4))).gradients.clone()
    gradients.compute_loss_tile(train.take(torch.tensor([1, 2, 3])))
    assert gradients.per_example_backward is False
    again = gradients.compute_loss_tile(train.take(torch.arange(4))).gradients
    torch.testing.assert_close(first[2:], again[2:])
    assert not torch.isfinite(first[:2]).all(1).any()
