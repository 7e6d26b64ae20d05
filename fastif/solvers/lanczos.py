"""How large an operator is, and how much larger its mini-batches are."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator, FactoredOperator, LinearOperator
from fastif.errors import InputError

Inverse = Callable[[Tensor], Tensor]
"""Rows times a fixed positive definite matrix P⁻¹; it returns new rows."""

STEPS = 12
RELATIVE_GAP = 0.05
SAMPLES = 16


def identity(vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
    """P⁻¹ of a solver without a preconditioner."""
    return vectors


def max_eigenvalue(
    operator: LinearOperator, inverse: Inverse = identity, seed: int = 0, steps: int = STEPS
) -> float:
    """The largest |eigenvalue| of P⁻¹A, from above: Lanczos in the inner product of P.

    A Ritz value θ is below the largest eigenvalue; θ plus its residual is above it in all but
    contrived cases (Zhou and Li, 2011), and stops the iteration once it is within 5 % of θ.

    >>> from fastif.curvature import DenseOperator
    >>> round(max_eigenvalue(DenseOperator(torch.diag(torch.tensor([3.0, 1.0, -2.0])))), 3)
    3.0
    """
    generator = torch.Generator().manual_seed(seed)
    like = operator.like
    basis_vector = torch.randn(1, operator.size, generator=generator, dtype=like.dtype).to(
        like.device
    )
    previous, beta = torch.zeros_like(basis_vector), 0.0
    direction = inverse(basis_vector)
    norm = _inner_norm(basis_vector, direction)
    basis_vector, direction = basis_vector / norm, direction / norm
    matrix = torch.zeros(steps, steps, dtype=torch.float64)
    bound = 0.0
    for step in range(min(steps, operator.size)):
        product = operator.apply(direction)
        alpha = float((product * direction).sum())
        check_finite_products(product)
        product = product - alpha * basis_vector - beta * previous
        preconditioned = inverse(product)
        beta = _inner_norm(product, preconditioned)
        matrix[step, step] = alpha
        ritz, vectors = torch.linalg.eigh(matrix[: step + 1, : step + 1])
        position = int(ritz.abs().argmax())
        theta, residual_bound = (
            float(ritz[position].abs()),
            beta * float(vectors[-1, position].abs()),
        )
        bound = theta + residual_bound
        if step + 1 == steps or not residual_bound > RELATIVE_GAP * theta:
            break
        matrix[step, step + 1] = matrix[step + 1, step] = beta
        previous, basis_vector, direction = basis_vector, product / beta, preconditioned / beta
    return bound


def minibatch_eigenvalue_margin(
    operator: DampedOperator, batch: int, inverse: Inverse = identity, seed: int = 0
) -> float:
    """How far P⁻¹A_B of `batch` examples drawn afresh may exceed P⁻¹A, for a step that is safe.

    With T = P^-½ A P^-½ and t_i the largest eigenvalue of example i, E[T_B²] <= T² + max t_i / B T,
    so that the mean square of an error shrinks at every step of scale top(T) + max t_i / B and
    larger. For a Gauss-Newton matrix t_i is at most the sum of r P⁻¹ rᵀ over the example's root
    rows r (equal with one row: two classes), read off all of them in one sweep. Of other operators
    some mini-batches are looked at.
    """
    inner = operator.operator
    if isinstance(inner, FactoredOperator):
        return _max_trace(inner, inverse) / batch
    generator = torch.Generator().manual_seed(seed)
    largest = 0.0
    for offset in range(SAMPLES):
        sampled = inner.sample(generator, batch)
        if sampled is inner:
            return 0.0
        largest = max(largest, max_eigenvalue(sampled, inverse, seed + offset))
    return largest


def check_finite_products(products: Float[Tensor, "q p"]) -> None:
    """Refuse a curvature that cannot be multiplied with.

    Raises:
        InputError: there is NaN or infinity in its products.
    """
    if not torch.isfinite(products.norm(dim=1)).all():
        raise InputError(
            "curvature",
            "finite products with any row",
            "NaN or infinity",
            "Check the model and its loss on the curvature's rows: their gradients overflow.",
        )


def _max_trace(factored: FactoredOperator, inverse: Inverse) -> float:
    largest = 0.0
    for batch_index in range(factored.num_batches):
        columns = [
            (tile.gradients * inverse(tile.gradients)).sum(1)
            for tile in factored.factor_rows(batch_index)
        ]
        largest = max(largest, float(torch.stack(columns).sum(0).max()))
    return largest


def _inner_norm(vectors: Tensor, preconditioned: Tensor) -> float:
    return float((vectors * preconditioned).sum().clamp_min(0).sqrt())
