"""Largest eigenvalues of operators and of their mini-batches."""

import pytest
import reference
import torch
from cases import case
from systems import Mean, add_damping, random_rows

from fastif import GaussNewton, Hessian, InputError
from fastif.curvature import DenseOperator, LinearOperator
from fastif.solvers.lanczos import max_eigenvalue, minibatch_eigenvalue_margin
from fastif.solvers.randomized_eigh import apply_spectral_preconditioner, compute_eigenpairs


def _matrix(size: int, seed: int = 0) -> torch.Tensor:
    root = random_rows(size, size, seed)
    return root @ torch.diag(0.7 ** torch.arange(size)).double() @ root.T


@pytest.mark.parametrize("size", [1, 2, 5, 40])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_bound_of_the_largest_eigenvalue_is_tight(size, sign):
    matrix = _matrix(size)
    top = float(torch.linalg.eigvalsh(matrix)[-1])
    estimate = max_eigenvalue(DenseOperator(sign * matrix))
    assert top * (1 - 1e-9) <= estimate <= 1.1 * top


def test_the_bound_of_a_zero_matrix_is_zero():
    assert max_eigenvalue(DenseOperator(torch.zeros(3, 3))) == 0


def test_the_bound_of_a_preconditioned_operator():
    matrix, other = _matrix(30), add_damping(_matrix(30, seed=1), 0.3)
    inverse = torch.linalg.inv(other)
    top = float(torch.linalg.eigvals(matrix @ inverse).real.max())
    estimate = max_eigenvalue(DenseOperator(matrix), lambda rows: rows @ inverse)
    assert top * (1 - 1e-9) <= estimate <= 1.1 * top


@pytest.mark.default_cases
@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 50])
@pytest.mark.parametrize("name", ["softmax", "mlp", "two-outputs"])
def test_the_mean_squared_error_shrinks_at_the_safe_scale(name, batch, preconditioned):
    """E[T_B²] <= s T for T = P^-½ (A + λI) P^-½, so E|(1 - T_B / s) e|² <= |e|² - eᵀTe / s."""
    made, damping = case(name), 0.05
    count = len(made.train)
    each = torch.stack([reference.gauss_newton(made.problem, [i]) for i in range(count)])
    size = each.shape[1]
    P = add_damping(_matrix(size, 3) / 9, damping) if preconditioned else torch.eye(size).double()
    values, vectors = torch.linalg.eigh(P)
    half = vectors @ torch.diag(values**-0.5) @ vectors.T
    each = half @ add_damping(each, damping) @ half
    T = each.mean(0)
    square = (each @ each).mean(0) / batch + (1 - 1 / batch) * T @ T
    operator = GaussNewton(made.objective, made.train.with_batch_size(4)).with_damping(damping)
    inverse = torch.linalg.inv(P)
    scale = max_eigenvalue(operator, lambda rows: rows @ inverse)
    scale += minibatch_eigenvalue_margin(operator, batch, lambda rows: rows @ inverse)
    assert torch.linalg.eigvalsh(scale * T - square)[0] > -1e-9
    assert scale < 20 * float(torch.linalg.eigvalsh(each)[:, -1].max())  # and not much too large


def test_a_matrix_without_examples_has_no_margin_and_other_operators_are_sampled():
    assert minibatch_eigenvalue_margin(DenseOperator(torch.eye(2)).with_damping(0.1), 1) == 0
    matrices = torch.stack([torch.diag(torch.tensor([float(i), 1.0])) for i in range(9)])
    estimate = minibatch_eigenvalue_margin(Mean(matrices).with_damping(0.0), 1)
    assert 6 <= estimate <= 8.1
    made = case("softmax")
    hessian = Hessian(made.objective, made.train).with_damping(0.1)
    assert minibatch_eigenvalue_margin(hessian, 1) > 0.1


class Once(LinearOperator):
    """Operator that counts the vectors it multiplies."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix, self.taken = DenseOperator(matrix), []

    @property
    def size(self) -> int:
        return self.matrix.size

    @property
    def like(self) -> torch.Tensor:
        return self.matrix.like

    def apply(self, vectors: torch.Tensor) -> torch.Tensor:
        self.taken.append(len(vectors))
        return self.matrix.apply(vectors)


@pytest.mark.parametrize("rank", [3, 8, 99])
def test_eigenpairs_of_a_low_rank_matrix_are_exact_with_two_products(rank):
    root = random_rows(20, 3)
    operator = Once(root.T @ root)
    vectors, values = compute_eigenpairs(operator, rank)
    rank = min(rank, 20)
    assert operator.taken == [rank, rank]
    identity = torch.eye(rank, dtype=torch.float64)
    torch.testing.assert_close(vectors @ vectors.T, identity, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(vectors.T @ torch.diag(values) @ vectors, root.T @ root)


def test_a_spectral_preconditioner_of_full_rank_is_the_inverse():
    root = random_rows(20, 3)
    vectors, values = compute_eigenpairs(DenseOperator(root.T @ root), 4)  # the fourth is zero
    rows = random_rows(20)
    inverse = torch.linalg.inv(add_damping(root.T @ root, 0.2))
    actual = apply_spectral_preconditioner(rows, vectors, values, 0.2)
    torch.testing.assert_close(actual / 0.2, rows @ inverse, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("find", [max_eigenvalue, lambda operator: compute_eigenpairs(operator, 2)])
def test_a_nonfinite_curvature_is_refused(find):
    matrix = torch.eye(3)
    matrix[1, 1] = torch.nan
    with pytest.raises(InputError, match=r"curvature: expected finite products"):
        find(DenseOperator(matrix))
