"""Divergence of LiSSA: scales, affected right-hand sides and early detection."""

import time

import pytest
import reference
import torch
from cases import case
from systems import random_rows

from fastif import Hessian, Lissa
from fastif.curvature import DenseOperator


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lissa_with_too_small_a_scale_is_stopped_early_and_reported(dtype):
    matrix = torch.diag(torch.tensor([100.0, 1.0], dtype=dtype))
    started = time.monotonic()
    solution = Lissa(depth=10**9, scale=1.0).solve(
        DenseOperator(matrix).with_damping(0.1), torch.ones(1, 2, dtype=dtype)
    )
    assert time.monotonic() - started < 20
    assert not solution.converged.any()


def test_lissa_that_diverges_slowly_is_not_reported_as_converged():
    matrix = torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64))
    solution = Lissa(depth=100, scale=1.9).solve(
        DenseOperator(matrix).with_damping(0.0), torch.ones(1, 2, dtype=torch.float64)
    )
    assert torch.isfinite(solution.value).all()
    assert solution.residual[0] > 1
    assert not solution.converged.any()


@pytest.mark.parametrize(("scale", "converges"), [(2.0, True), (1.45, True), (1.35, False)])
def test_lissa_converges_exactly_when_the_scale_exceeds_half_the_largest_eigenvalue(
    scale, converges
):
    """The iteration multiplies the error by 1 - μ/scale; at μ = 2.8 the bound is 1.4."""
    matrix = torch.diag(torch.tensor([2.7, 1.0], dtype=torch.float64))
    solution = Lissa(depth=600, scale=scale, tolerance=1e-6).solve(
        DenseOperator(matrix).with_damping(0.1), torch.ones(1, 2, dtype=torch.float64)
    )
    assert bool(solution.converged[0]) is converges


# Divergence.


def test_a_diverging_right_hand_side_does_not_affect_the_others():
    """The first right-hand side has no component along the eigenvalue above the scale."""
    operator = DenseOperator(torch.diag(torch.tensor([1.0, 100.0]))).with_damping(0.1)
    rhs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    for solver in (Lissa(depth=400, scale=2.0), Lissa(scale=2.0, max_steps=400)):
        solution = solver.solve(operator, rhs)
        assert solution.converged.tolist() == [True, False, True]
        assert torch.isnan(solution.value[1]).all()
        assert solution.residual[1] == torch.inf
        exact = torch.tensor([1 / 1.1, 2 / 1.1])
        torch.testing.assert_close(solution.value[[0, 2], 0], exact, rtol=0.1, atol=0.1)
        apart = solver.solve(operator, rhs[[0, 2]])
        torch.testing.assert_close(solution.value[[0, 2]], apart.value)
    assert "scale" in Lissa.remedy


def test_one_diverged_repeat_makes_the_solution_nan():
    operator = DenseOperator(torch.eye(2)).with_damping(0.1)
    solver, rhs = Lissa(depth=60, scale=2.0, repeats=2), torch.ones(2, 2)
    runs = [solver.run_repeat(operator, rhs, index) for index in range(2)]
    runs[1].value[0] = torch.nan
    merged = solver.merge_runs(operator, rhs, runs)
    assert torch.isnan(merged.value[0]).all()
    assert merged.residual[0] == torch.inf
    assert merged.converged.tolist() == [False, True]


def test_divergence_is_detected_long_before_overflow():
    matrix = torch.diag(torch.tensor([1.0, 1.0], dtype=torch.float64))
    solver = Lissa(depth=10**9, scale=0.45)  # the error grows by a factor of 1.4 each step
    solution = solver.solve(
        DenseOperator(matrix).with_damping(0.1), torch.ones(1, 2, dtype=torch.float64)
    )
    assert solution.steps <= 50
    assert torch.isnan(solution.value).all()


def test_an_indefinite_hessian_diverges_without_an_exception():
    made = case("mlp")
    lowest = torch.linalg.eigvalsh(reference.hessian(made.problem))[0]
    operator = Hessian(made.objective, made.train).with_damping(float(-lowest) / 2)
    solution = Lissa(batch=9, max_steps=3000).solve(operator, random_rows(operator.size))
    assert not solution.converged.any()
