"""Solves with products below single precision: certified residuals against dense double ones."""

import copy
from functools import cache

import pytest
import torch
from systems import random_rows
from torch.func import functional_call, jacrev

from fastif import (
    CrossEntropy,
    Dual,
    GaussNewton,
    InputError,
    ModuleObjective,
    Spectral,
    TensorExamples,
)
from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.per_example import compute_measure_gradients
from fastif.solvers import exact_dual_solve
from fastif.solvers.in_place import dot_vectors
from fastif.solvers.product_precision import use_precision

CPU = torch.device("cpu")
QUERIES = 12


class _Mean(torch.nn.Module):
    def forward(self, hidden):
        return hidden.flatten(1, -2).mean(1)


@cache
def _make_curvature(positions: int = 1, rows: int = 40, batch_size: int = 16):
    """A network with 1,411 parameters in single precision, and its dense matrix in double.

    With one position, gradients of the layers are held as factors; with 12, as rows.
    """
    torch.manual_seed(3)
    module = torch.nn.Sequential(
        torch.nn.Linear(40, 32), torch.nn.Tanh(), _Mean(), torch.nn.Linear(32, 3)
    )
    inputs = 3 * (torch.randn(rows, positions, 40) + 1)  # a mean: a few eigenvalues are large
    train = TensorExamples(inputs, torch.randint(3, (rows,))).with_batch_size(batch_size)
    curvature = GaussNewton(ModuleObjective(module, CrossEntropy()), train)
    return curvature, _compute_dense(copy.deepcopy(module).double(), inputs.double())


def _compute_dense(module: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return the mean of Jᵀ (diag(π) - ππᵀ) J by automatic differentiation in double precision."""
    params, total = dict(module.named_parameters()), torch.zeros((), dtype=torch.float64)
    for row in inputs:
        jacobians = jacrev(lambda own, x: functional_call(module, own, (x[None],))[0])(params, row)
        jacobian = torch.cat([each.flatten(1) for each in jacobians.values()], 1).detach()
        chances = module(row[None])[0].detach().softmax(0)
        total = total + jacobian.T @ (chances.diag() - chances.outer(chances)) @ jacobian
    return total / len(inputs)


@pytest.fixture(scope="module", params=[1, 12])
def problem(request):
    return _make_curvature(request.param)


def _measure_dense(matrix, damping, value, rhs) -> torch.Tensor:
    value, rhs = value.double(), rhs.double()
    return (rhs - damping * value - value @ matrix).norm(dim=1) / rhs.norm(dim=1)


def _make_rhs(curvature) -> torch.Tensor:
    return random_rows(curvature.size, QUERIES).float()


def _has_bf16() -> bool:
    left = torch.randn(64, 4096, generator=torch.Generator().manual_seed(0))
    with use_precision(CPU, "bf16"):
        low = left @ left.T
    return not torch.equal(low, left @ left.T)


needs_bf16 = pytest.mark.skipif(not _has_bf16(), reason="this processor has no bf16 products")


@pytest.mark.parametrize("damping", [10.0, 0.1, 1e-3])
def test_a_dual_solve_with_low_products_is_refined_until_it_is_certified(problem, damping):
    curvature, matrix = problem
    rhs = _make_rhs(curvature)
    solution = Dual(products="bf16").solve(curvature.with_damping(damping), rhs)
    measured = _measure_dense(matrix, damping, solution.value, rhs)
    assert solution.converged.all()
    assert (solution.residual <= 1e-2).all()
    assert (measured <= 1.03 * solution.residual.double() + 1e-5).all()


@needs_bf16
def test_without_refinement_low_products_do_not_reach_the_residual(problem, monkeypatch):
    curvature, matrix = problem
    operator, rhs = curvature.with_damping(1e-3), _make_rhs(curvature)
    refined = Dual(products="bf16").solve(operator, rhs)
    monkeypatch.setattr(exact_dual_solve, "MAX_REFINEMENTS", 0)
    solution = Dual(products="bf16").solve(operator, rhs)
    measured = _measure_dense(matrix, 1e-3, solution.value, rhs)
    assert measured.max() > 0.1, "low precision alone is enough, so the refinement is not tested"
    assert (measured <= solution.residual.double()).all()
    assert not solution.converged.all()
    assert refined.steps > solution.steps == 3


@pytest.mark.parametrize("damping", [1e-5, 1e-7])
def test_no_residual_is_certified_below_the_dense_one(problem, damping):
    """With a damping far below the rounding of the Gram matrix, refinement need not converge."""
    curvature, matrix = problem
    rhs = _make_rhs(curvature)
    solution = Dual(products="bf16").solve(curvature.with_damping(damping), rhs)
    measured = _measure_dense(matrix, damping, solution.value, rhs)
    certified = solution.residual <= 0.1
    assert (measured[certified] <= 0.1).all()
    assert torch.equal(solution.converged, solution.residual <= 1e-2)


def test_low_products_leave_single_precision_as_it_was(problem):
    curvature, _ = problem
    rhs = _make_rhs(curvature)
    before = curvature.apply(rhs)
    Dual(products="bf16").solve(curvature.with_damping(0.1), rhs)
    assert torch.equal(curvature.apply(rhs), before)


def test_scores_without_s_test_take_a_kernel_in_single_precision(problem):
    curvature, _ = problem
    operator, train = curvature.with_damping(10.0), curvature.examples
    assert Dual().prepare_scores(operator, train) is not None
    assert Dual(products="bf16").prepare_scores(operator, train) is None


def test_products_that_do_not_exist_are_refused(problem):
    operator, rhs = problem[0].with_damping(0.1), _make_rhs(problem[0])
    for solver in (Dual(products="tf32"), Spectral(products="tf32")):
        with pytest.raises(
            InputError, match=r'"single" or "bf16" on a device of type cpu; got "tf'
        ):
            solver.solve(operator, rhs)
    with pytest.raises(InputError, match=r'"single" with a rank.*got "bf16"'):
        Dual(rank=5, products="bf16")


@pytest.mark.parametrize("products", ["single", "bf16"])
def test_the_residual_of_ekfac_bounds_the_dense_one(problem, products):
    curvature, matrix = problem
    rhs = _make_rhs(curvature)
    solution = Spectral(products=products).solve(curvature.with_damping(0.1), rhs)
    measured = _measure_dense(matrix, 0.1, solution.value, rhs)
    assert (measured <= solution.residual.double() * (1 + 1e-5)).all()
    assert (solution.residual.double() <= 1.1 * measured + 0.05).all(), "the bound is too wide"


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_ekfac_in_place_measures_the_rounded_solutions_in_one_pass(dtype):
    curvature, matrix = _make_curvature()
    operator, rhs = curvature.with_damping(0.1), _make_rhs(curvature)
    expected = Spectral().solve(operator, rhs)
    factor, overwritten = Spectral().factor(operator), rhs.clone()
    solution = Spectral().prepare_in_place(operator, factor, dtype)(overwritten)
    assert solution.value.dtype == (dtype or torch.float32)
    torch.testing.assert_close(solution.value.float(), expected.value, rtol=0.01, atol=0)
    measured = _measure_dense(matrix, 0.1, solution.value, rhs)
    torch.testing.assert_close(solution.residual.double(), measured, rtol=1e-4, atol=1e-5)
    left = overwritten.double().norm(dim=1) / rhs.double().norm(dim=1)
    torch.testing.assert_close(left, measured, rtol=1e-4, atol=1e-5)


def test_a_dual_solve_in_place_returns_the_memory_of_its_right_hand_sides(problem):
    curvature, _ = problem
    operator, rhs = curvature.with_damping(0.1), _make_rhs(curvature)
    expected = Dual().solve(operator, rhs)
    solution = Dual().prepare_in_place(operator)(rhs)
    assert solution.value.data_ptr() == rhs.data_ptr()
    assert torch.equal(solution.value, expected.value)
    assert torch.equal(solution.residual, expected.residual)


@pytest.mark.parametrize("solver", [Dual(), Spectral()])
def test_a_query_that_is_not_finite_fails_alone_in_place(problem, solver):
    curvature, _ = problem
    operator, rhs = curvature.with_damping(0.1), _make_rhs(curvature)
    expected = solver.solve(operator, rhs)
    rhs[3, 7] = torch.inf
    solution = solver.prepare_in_place(operator)(rhs)
    assert solution.value[3].isnan().all()
    assert torch.isinf(solution.residual[3])
    assert not solution.converged[3]
    others = torch.arange(QUERIES) != 3
    torch.testing.assert_close(solution.value[others], expected.value[others])
    torch.testing.assert_close(solution.residual[others], expected.residual[others])


@pytest.mark.parametrize("solver", [Dual(), Spectral()])
def test_all_queries_share_the_passes(solver, monkeypatch):
    curvature, _ = _make_curvature(rows=20, batch_size=20)
    operator, calls = curvature.with_damping(0.1), []
    factor_rows = GaussNewton.factor_rows
    monkeypatch.setattr(
        GaussNewton, "factor_rows", lambda self, index: calls.append(1) or factor_rows(self, index)
    )
    solve = solver.prepare_in_place(operator, solver.factor(operator))
    numbers = []
    for count in (1, 40):
        calls.clear()
        solve(random_rows(curvature.size, count).float())
        numbers.append(len(calls))
    assert numbers == ([3, 3] if isinstance(solver, Dual) else [1, 1])


def test_vectors_in_half_precision_are_multiplied_in_the_type_of_the_rows(problem):
    curvature, _ = problem
    vectors = _make_rhs(curvature).bfloat16()
    for tile in curvature.merge_factor_rows(0):
        expected = vectors.double() @ tile.gradients.double().T
        for other in (tile, GradientTile(tile.gradients)):
            products = dot_vectors(other, vectors).double()
            torch.testing.assert_close(products, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("solver", [Dual(), Spectral()])
def test_queries_and_solutions_start_at_aligned_addresses(problem, solver):
    """Without it a GPU multiplies without tensor cores; 1,411 parameters are no multiple of 64."""
    curvature, _ = problem
    queries = curvature.examples
    rhs = compute_measure_gradients(curvature.gradients, queries, torch.arange(3))
    value = solver.solve(curvature.with_damping(0.1), rhs).value
    for rows in (rhs, value):
        assert rows.stride(1) == 1
        assert rows.stride(0) % 64 == 0
