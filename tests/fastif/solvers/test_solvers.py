"""Contract of every solver: equal to a dense inverse in double precision, and its failures."""

from dataclasses import replace

import pytest
import torch
from systems import DAMPING, Whole, problem, random_rows, residuals

from fastif import (
    ConjugateGradient,
    CrossEntropy,
    Direct,
    Dual,
    InputError,
    Lissa,
    ModuleObjective,
    Spectral,
    TensorExamples,
)
from fastif.solvers import Solver

# LiSSA on all examples at each step: the operator returns itself as its sample.
LISSA = Lissa(depth=600, scale=2.0, tolerance=1e-6)
# Each solver with the allowed error of its solution. Conjugate gradients go further than that,
# because rounding depends on the other right-hand sides and decides at which step one stops.
EXACT: dict[str, tuple[Solver, float]] = {
    "cg": (ConjugateGradient(tolerance=1e-12, max_steps=500), 1e-8),
    "cg-ekfac": (ConjugateGradient(1e-12, max_steps=500, preconditioner="ekfac"), 1e-8),
    "cg-eigen": (ConjugateGradient(1e-12, max_steps=500, preconditioner="eigen", rank=5), 1e-8),
    "direct": (Direct(), 1e-10),
    "dual": (Dual(), 1e-10),
    "dual-low-rank": (Dual(rank=6), 1e-2),
    "lissa": (LISSA, 1e-6),
    "lissa-auto": (Lissa(tolerance=1e-4), 1e-2),
    "lissa-ekfac": (Lissa(depth=150, scale=3.0, tolerance=1e-6, preconditioner="ekfac"), 1e-6),
    "cg-drawn": (ConjugateGradient(1e-12, max_steps=500, preconditioner="drawn", rank=9), 1e-8),
    "lissa-drawn": (Lissa(tolerance=1e-4, preconditioner="drawn", rank=9), 1e-2),
    "lissa-eigen": (Lissa(tolerance=1e-4, preconditioner="eigen", rank=5), 1e-2),
}
EVERY = {name: solver for name, (solver, _) in EXACT.items()} | {"spectral": Spectral()}


@pytest.fixture(params=EXACT)
def exact(request):
    return EXACT[request.param]


@pytest.fixture(params=EVERY)
def solver(request):
    return EVERY[request.param]


@pytest.mark.default_cases
@pytest.mark.parametrize("name", ["mlp", "layernorm", "outside"])
def test_a_solution_equals_the_dense_inverse(exact, name):
    operator, matrix = problem(name)
    rhs = random_rows(operator.size)
    kept = rhs.clone()
    solution = exact[0].solve(operator, rhs)
    expected = rhs @ torch.linalg.inv(matrix)
    torch.testing.assert_close(solution.value, expected, rtol=exact[1], atol=exact[1])
    assert solution.converged.all()
    assert solution.damping == DAMPING
    assert solution.steps >= 1
    assert torch.equal(rhs, kept)


def test_the_residual_reported_is_the_residual_measured(solver):
    operator, matrix = problem()
    rhs = random_rows(operator.size)
    solution = solver.solve(operator, rhs)
    measured = residuals(matrix, solution.value, rhs)
    torch.testing.assert_close(solution.residual, measured, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    "stopped",
    [
        ConjugateGradient(tolerance=1e-10, max_steps=3),
        ConjugateGradient(tolerance=1e-10, max_steps=2, preconditioner="ekfac"),
        Lissa(depth=25, scale=2.0, tolerance=1e-3),
        Lissa(depth=5, scale=2.0, repeats=3, tolerance=1e-3),
        Lissa(max_steps=5, tolerance=1e-3),
    ],
)
def test_a_solver_stopped_early_reports_its_true_residual(stopped):
    operator, matrix = problem()
    rhs = random_rows(operator.size)
    solution = stopped.solve(operator, rhs)
    measured = residuals(matrix, solution.value, rhs)
    torch.testing.assert_close(solution.residual, measured, rtol=1e-9, atol=0.0)
    assert (measured > 1e-3).all()
    assert not solution.converged.any()


def test_a_solution_does_not_depend_on_other_right_hand_sides_or_their_order(solver):
    operator, _ = problem()
    factor = solver.factor(operator)
    rhs = random_rows(operator.size, 4)
    rhs[2] *= 1e4
    together = solver.solve(operator, rhs, factor)
    turned = solver.solve(operator, rhs.flip(0), factor)
    torch.testing.assert_close(together.value, turned.value.flip(0), rtol=1e-9, atol=1e-11)
    assert torch.equal(together.converged, turned.converged.flip(0))
    for i in range(4):
        alone = solver.solve(operator, rhs[i : i + 1], factor)
        torch.testing.assert_close(together.value[i], alone.value[0], rtol=1e-9, atol=1e-11)
        assert together.converged[i] == alone.converged[0]


def test_a_zero_right_hand_side_has_a_zero_solution(solver):
    operator, _ = problem()
    rhs = random_rows(operator.size, 2)
    rhs[0] = 0
    solution = solver.solve(operator, rhs)
    assert (solution.value[0] == 0).all()
    assert solution.residual[0] == 0
    assert solution.converged.all()


@pytest.mark.default_cases
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_nonfinite_right_hand_side_fails_alone(solver, bad):
    operator, _ = problem()
    rhs = random_rows(operator.size, 4)
    rhs[1, 0] = rhs[3, 2] = bad
    solution = solver.solve(operator, rhs)
    assert not torch.isfinite(solution.value[[1, 3]].norm(dim=1)).any()
    assert not torch.isfinite(solution.residual[[1, 3]]).any()
    assert solution.converged.tolist() == [True, False, True, False]
    others = solver.solve(operator, rhs[[0, 2]])
    torch.testing.assert_close(solution.value[[0, 2]], others.value, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(solution.residual[[0, 2]], others.residual, rtol=1e-6, atol=1e-12)


def test_all_nonfinite_right_hand_sides_are_no_exception(solver):
    operator, _ = problem()
    lost = solver.solve(operator, torch.full((2, operator.size), torch.nan, dtype=torch.float64))
    assert not lost.converged.any()
    assert not torch.isfinite(lost.residual).any()


def test_a_stored_factor_gives_an_equal_solution(solver):
    operator, _ = problem()
    rhs = random_rows(operator.size)
    factor = solver.factor(operator)
    expected = solver.solve(operator, rhs).value
    torch.testing.assert_close(solver.solve(operator, rhs, factor).value, expected)
    kept = {name: tensor.clone() for name, tensor in factor.items()}
    prepared = solver.prepare(operator, factor)
    for _ in range(2):
        torch.testing.assert_close(prepared(rhs).value, expected)
    assert all(torch.equal(factor[name], tensor) for name, tensor in kept.items())


@pytest.mark.parametrize(
    "name", [name for name, (solver, _) in EXACT.items() if not solver.factor_depends_on_damping]
)
def test_a_factor_that_does_not_depend_on_the_damping_serves_every_damping(name):
    solver, error = EXACT[name]
    operator, _ = problem()
    factor = solver.factor(operator.operator.with_damping(7.0))
    other, matrix = problem(damping=0.5)
    rhs = random_rows(operator.size)
    value = solver.solve(other, rhs, factor).value
    torch.testing.assert_close(value, rhs @ torch.linalg.inv(matrix), rtol=error, atol=error)


def test_a_solver_is_a_frozen_dataclass_with_equality(solver):
    assert solver == replace(solver)
    with pytest.raises(AttributeError):
        solver.kind = "other"
    assert solver.remedy.endswith(".")
    assert all(hasattr(solver, name) for name in solver.factor_fields)


def test_single_precision_is_kept_and_reached(exact):
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 3)
    examples = TensorExamples(torch.randn(8, 3), torch.randint(3, (8,)))
    operator = Whole(ModuleObjective(module, CrossEntropy()), examples).with_damping(DAMPING)
    rhs = random_rows(12).float()
    matrix = operator.operator.to_dense().double() + DAMPING * torch.eye(12, dtype=torch.float64)
    solution = exact[0].solve(operator, rhs)
    assert solution.value.dtype == torch.float32
    expected = rhs.double() @ torch.linalg.inv(matrix)
    error = max(exact[1], 1e-4)
    torch.testing.assert_close(solution.value.double(), expected, rtol=error, atol=error)
    assert solution.converged.all()


@pytest.mark.parametrize(
    ("build", "name", "bad"),
    [
        (ConjugateGradient, "tolerance", 0.0),
        (ConjugateGradient, "max_steps", 0),
        (ConjugateGradient, "rank", 0),
        (Lissa, "scale", -1.0),
        (Lissa, "scale", float("nan")),
        (Lissa, "depth", 0),
        (Lissa, "batch", 0),
        (Lissa, "repeats", -2),
        (Lissa, "seed", -1),
        (Lissa, "max_steps", 0),
        (Dual, "block_rows", 0),
        (Dual, "rank", 0),
        (Dual, "memory_mb", -1),
    ],
)
def test_an_invalid_hyper_parameter_is_refused_by_name(build, name, bad):
    with pytest.raises(InputError, match=rf"\[solver\] {name}: expected .* got {bad}"):
        build(**{name: bad})
