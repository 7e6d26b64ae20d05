"""Conjugate gradients with and without preconditioners."""

import pytest
import reference
import torch
from cases import case
from sklearn.datasets import load_digits
from systems import add_damping, problem, random_rows, residuals
from torch import Tensor, nn

from fastif import (
    ConjugateGradient,
    CrossEntropy,
    GaussNewton,
    Gradients,
    Hessian,
    InputError,
    ModuleObjective,
    TensorExamples,
)
from fastif.curvature import DenseOperator
from fastif.gradients.per_example import compute_loss_gradients


def test_a_converged_right_hand_side_leaves_the_iteration():
    """The first right-hand side is an eigenvector and takes one step; the second takes many."""
    matrix = torch.diag(torch.linspace(1, 50, 20, dtype=torch.float64))
    rhs = torch.zeros(2, 20, dtype=torch.float64)
    rhs[0, 3], rhs[1] = 2.0, 1.0
    solver = ConjugateGradient(tolerance=1e-6)
    applied = []

    class Counted(DenseOperator):
        def apply(self, vectors):
            applied.append(len(vectors))
            return super().apply(vectors)

    solution = solver.solve(Counted(matrix).with_damping(0.0), rhs)
    assert applied[0] == 2
    assert set(applied[1:-1]) == {1}  # the last product computes both residuals
    assert applied[-1] == 2
    assert solution.steps == len(applied) - 1 > 5
    alone = solver.solve(DenseOperator(matrix).with_damping(0.0), rhs[:1])
    assert alone.steps == 1
    assert torch.equal(solution.value[0], alone.value[0])


def test_conjugate_gradients_need_no_more_steps_than_eigenvalues():
    matrix = torch.diag(torch.tensor([1.0, 2.0, 3.0, 3.0, 3.0], dtype=torch.float64))
    solution = ConjugateGradient(tolerance=1e-9).solve(
        DenseOperator(matrix).with_damping(0.5), random_rows(5)
    )
    assert solution.steps <= 3
    assert solution.converged.all()


def test_conjugate_gradients_on_an_indefinite_operator_do_not_report_convergence():
    matrix = torch.diag(torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64))
    rhs = torch.tensor([[1.0, 2.0, 0.5], [1.0, 0.0, 1.0]], dtype=torch.float64)
    solution = ConjugateGradient(tolerance=1e-6).solve(DenseOperator(matrix).with_damping(0.1), rhs)
    assert solution.converged.tolist() == [
        False,
        True,
    ]  # the second has no component of negative curvature
    assert torch.isfinite(solution.value).all()
    assert solution.residual[0] > 0.1
    torch.testing.assert_close(solution.residual[1], torch.tensor(0.0, dtype=torch.float64))


def test_an_indefinite_hessian_of_a_network_is_not_converged():
    made = case("mlp")
    lowest = torch.linalg.eigvalsh(reference.hessian(made.problem)).min()
    damping = float(-lowest) / 2  # too little
    solution = ConjugateGradient(tolerance=1e-6).solve(
        Hessian(made.objective, made.train).with_damping(damping),
        random_rows(made.objective.space.size, 5),
    )
    assert not solution.converged.all()


# Preconditioners.


@pytest.mark.parametrize("kind", ["ekfac", "eigen", "drawn"])
def test_a_preconditioner_changes_the_steps_and_not_the_solution(kind):
    operator, matrix = problem("mlp", damping=1e-4)
    rhs = random_rows(operator.size)
    plain = ConjugateGradient(tolerance=1e-8, max_steps=500).solve(operator, rhs)
    solver = ConjugateGradient(tolerance=1e-8, max_steps=500, preconditioner=kind, rank=18)
    solution = solver.solve(operator, rhs)
    assert solution.converged.all()
    assert (residuals(matrix, solution.value, rhs) < 2e-8).all()
    assert solution.steps != plain.steps


def test_a_preconditioner_of_full_rank_takes_one_step():
    matrix = torch.diag(torch.tensor([5.0, 3.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    solver = ConjugateGradient(tolerance=1e-6, preconditioner="eigen", rank=4)
    solution = solver.solve(DenseOperator(matrix).with_damping(1e-3), random_rows(6))
    assert solution.steps == 1
    assert solution.converged.all()


@pytest.mark.parametrize("kind", ["ekfac", "eigen", "drawn"])
def test_a_hessian_is_preconditioned_by_its_gauss_newton_matrix(kind):
    made = case("mlp")
    ids = torch.tensor([5, 1, 1, 7])
    H = reference.hessian(made.problem, ids.tolist())
    damping = 1.5 * float(-torch.linalg.eigvalsh(H)[0])
    operator = Hessian(made.objective, made.train, ids).with_damping(damping)
    solver = ConjugateGradient(tolerance=1e-9, max_steps=300, preconditioner=kind, rank=8)
    factor = solver.factor(operator)
    same = solver.factor(GaussNewton(made.objective, made.train, ids).with_damping(0.5))
    assert all(torch.equal(factor[name], same[name]) for name in factor)
    rhs = random_rows(operator.size)
    solution = solver.solve(operator, rhs, factor)
    assert solution.converged.all()
    inverse = torch.linalg.inv(add_damping(H, damping))
    torch.testing.assert_close(solution.value, rhs @ inverse, rtol=1e-5, atol=1e-5)


def test_ekfac_of_a_dense_matrix_and_a_damping_of_zero_are_refused():
    matrix = DenseOperator(torch.eye(3, dtype=torch.float64))
    with pytest.raises(InputError, match=r"Gauss-Newton.*got Dense.*eigen"):
        ConjugateGradient(preconditioner="ekfac").solve(matrix.with_damping(1.0), random_rows(3))
    with pytest.raises(InputError, match=r"damping > 0.*got 0"):
        ConjugateGradient(preconditioner="eigen").check(matrix.with_damping(0.0))
    ConjugateGradient(preconditioner="eigen").check(matrix.with_damping(1.0))


@pytest.fixture(scope="module")
def digits() -> tuple[GaussNewton, Tensor]:
    """A network trained on 200 images of digits, and the gradients of four other images."""
    data = load_digits()
    points, labels = torch.tensor(data.data / 16.0).float(), torch.tensor(data.target)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
    module.append(nn.Linear(16, 10))
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(points[:200]), labels[:200]).backward()
        optimizer.step()
    objective = ModuleObjective(module, CrossEntropy())
    queries = TensorExamples(points[200:], labels[200:])
    rows = compute_loss_gradients(Gradients(objective), queries.with_batch_size(4), torch.arange(4))
    return GaussNewton(objective, TensorExamples(points[:200], labels[:200])), rows


@pytest.mark.long
def test_a_spectral_preconditioner_saves_80_percent_of_the_steps_on_an_ill_conditioned_network(
    digits,
):
    curvature, rows = digits
    operator = curvature.with_damping(1e-3)
    plain = ConjugateGradient(tolerance=1e-2, max_steps=400).solve(operator, rows)
    solver = ConjugateGradient(tolerance=1e-2, preconditioner="eigen", rank=100)
    solution = solver.solve(operator, rows)
    assert plain.converged.all()
    assert solution.converged.all()
    assert solution.steps <= 20
    assert plain.steps >= 5 * solution.steps
