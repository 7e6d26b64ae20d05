"""Spectral solver: the closed-form inverse of EK-FAC."""

from dataclasses import replace

import pytest
import reference
import torch
from cases import NAMES, case
from safetensors.torch import load, save

from fastif import Ekfac, GaussNewton, Hessian, InputError, Spectral
from fastif.curvature import DenseOperator

DAMPING = 0.1


def _curvature(name: str = "mlp") -> GaussNewton:
    made = case(name, 5 if name == "bert" else 9)
    return GaussNewton(made.objective, made.train.with_batch_size(4))


def _rows(size: int, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_inverts_ekfac_and_the_residual_is_exact(name):
    curvature = _curvature(name)
    rhs = _rows(curvature.size)
    kept = rhs.clone()
    solution = Spectral(negligible=1e-12).solve(curvature.with_damping(DAMPING), rhs)
    damping = DAMPING * torch.eye(curvature.size, dtype=torch.float64)
    expected = rhs @ torch.linalg.inv(Ekfac.fit(curvature).to_dense() + damping)
    torch.testing.assert_close(solution.value, expected, rtol=1e-8, atol=1e-8)
    exact = reference.gauss_newton(case(name, 5 if name == "bert" else 9).problem) + damping
    measured = (rhs - solution.value @ exact).norm(dim=1) / rhs.norm(dim=1)
    torch.testing.assert_close(solution.residual, measured, rtol=1e-7, atol=1e-10)
    assert torch.equal(solution.converged, solution.residual <= 1)
    assert torch.equal(rhs, kept)
    assert solution.damping == DAMPING


@pytest.mark.parametrize("name", ["linear", "two-outputs", "outside"])
def test_spectral_is_exact_if_ekfac_is(name):
    curvature = _curvature(name)
    rhs = _rows(curvature.size)
    solution = Spectral(negligible=1e-12).solve(curvature.with_damping(DAMPING), rhs)
    matrix = reference.gauss_newton(case(name).problem)
    inverse = torch.linalg.inv(matrix + DAMPING * torch.eye(len(matrix), dtype=matrix.dtype))
    torch.testing.assert_close(solution.value, rhs @ inverse, rtol=1e-8, atol=1e-8)
    assert (solution.residual < 1e-8).all()


def test_the_tolerance_decides_convergence():
    operator = _curvature().with_damping(DAMPING)
    rhs = _rows(operator.size)
    residual = Spectral().solve(operator, rhs).residual
    assert (residual > 1e-3).all()
    assert not Spectral(tolerance=1e-3).solve(operator, rhs).converged.any()
    assert Spectral(tolerance=1.0).solve(operator, rhs).converged.all()


def test_ekfac_itself_is_solved_up_to_negligible():
    ekfac = Ekfac.fit(_curvature())
    rhs = _rows(ekfac.size)
    operator = ekfac.with_damping(DAMPING)
    assert (Spectral(negligible=1e-12).solve(operator, rhs).residual < 1e-10).all()
    solver = Spectral()
    assert torch.equal(solver.solve(operator, rhs).value, ekfac.apply_inverse(rhs, DAMPING))
    assert solver.factor(operator).keys() == ekfac.state_dict().keys()


def test_one_factor_serves_every_damping():
    curvature = _curvature("bert")
    rhs = _rows(curvature.size)
    solver = Spectral()
    factor = load(save(dict(solver.factor(curvature.with_damping(7.0)))))
    for damping in (1e-3, 0.1, 50.0):
        operator = curvature.with_damping(damping)
        solution = solver.solve(operator, rhs, factor)
        assert torch.equal(solution.value, solver.solve(operator, rhs).value)
        assert torch.equal(solution.value, solver.prepare(operator, factor)(rhs).value)
        assert solution.damping == damping


def test_a_factor_of_other_parameters_is_refused():
    factor = Spectral().factor(_curvature("softmax").with_damping(DAMPING))
    operator = _curvature("mlp").with_damping(DAMPING)
    with pytest.raises(InputError, match="EK-FAC factor: expected a fit for the 31 attribut"):
        Spectral().solve(operator, _rows(operator.size), factor)


def test_a_nonfinite_right_hand_side_fails_alone():
    operator = _curvature().with_damping(DAMPING)
    rhs = _rows(operator.size)
    expected = Spectral().solve(operator, rhs)
    rhs[1, 0] = torch.nan
    solution = Spectral().solve(operator, rhs)
    torch.testing.assert_close(solution.value[[0, 2]], expected.value[[0, 2]])
    assert solution.value[1].isnan().all()
    assert solution.residual[1] == torch.inf
    assert not solution.converged[1]


def test_a_curvature_without_ekfac_and_a_damping_of_zero_are_refused():
    made, curvature = case("mlp"), _curvature()
    rhs = _rows(curvature.size)
    refused = (
        Hessian(made.objective, made.train).with_damping(DAMPING),
        DenseOperator(torch.eye(curvature.size, dtype=torch.float64)).with_damping(DAMPING),
        curvature.with_damping(0.0),
    )
    for operator in refused:
        with pytest.raises(InputError, match=r"solver spectral: expected a Gauss-Newton or EK-FAC"):
            Spectral().check(operator)
        with pytest.raises(InputError, match="solver spectral"):
            Spectral().solve(operator, rhs)
    Spectral().check(curvature.with_damping(DAMPING))


@pytest.mark.parametrize(
    ("name", "bad"),
    [("tolerance", 0.0), ("negligible", 0.0), ("negligible", 1.0), ("seed", -1)],
)
def test_an_invalid_hyper_parameter_is_refused_by_name(name, bad):
    with pytest.raises(InputError, match=rf"\[solver\] {name}: expected .* got {bad}"):
        replace(Spectral(), **{name: bad})
