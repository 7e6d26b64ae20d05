"""Largest eigenvalues by Lanczos: of an operator, and the margin that its mini-batches need."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator, FactoredOperator, LinearOperator
from fastif.errors import InputError

Inverse = Callable[[Tensor], Tensor]
"""Function that multiplies vectors by a fixed positive definite P⁻¹ and returns new vectors."""

STEPS = 12
RELATIVE_GAP = 0.05
SAMPLES = 16


def identity(vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
    """Return the vectors unchanged: P⁻¹ of a solver without a preconditioner."""
    return vectors


def max_eigenvalue(
    operator: LinearOperator, inverse: Inverse = identity, seed: int = 0, steps: int = STEPS
) -> float:
    """Upper bound of the largest |eigenvalue| of P⁻¹A, by Lanczos in the inner product of P.

    A Ritz value θ is a lower bound. θ plus its residual is an upper bound in all but contrived
    cases (Zhou and Li, 2011). The iteration stops when the residual is within 5 % of θ.

    Args:
        operator: Symmetric operator A.
        inverse: Preconditioner, a function that multiplies vectors by P⁻¹.
        seed: Random seed of the start vector.
        steps: Largest number of products with A.

    Raises:
        InputError: If a product is not finite.

    Examples:
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
    """Margin of LiSSA's step scale for mini-batches: max_i t_i / batch.

    With T = P^-½ A P^-½ and t_i the largest eigenvalue of example i, E[T_B²] ≤ T² + max t_i / B T.
    The mean squared error then shrinks at every step with a scale of λ_max(T) + max t_i / B or
    more. For a Gauss-Newton matrix, t_i is at most Σ v P⁻¹ vᵀ over the factor rows v of the example
    (with equality for one row: two classes), computed in one pass. For other operators the largest
    eigenvalue of some sampled mini-batches is used.

    Args:
        operator: Damped curvature A + λI.
        batch: Number B of examples in a mini-batch.
        inverse: Preconditioner, a function that multiplies vectors by P⁻¹.
        seed: Random seed of the sampled mini-batches.
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
    """Refuse a curvature with NaN or infinity in its products.

    Raises:
        InputError: If a product is not finite.
    """
    if not torch.isfinite(products.norm(dim=1)).all():
        raise InputError(
            "curvature",
            "finite products with all vectors",
            "NaN or infinity",
            "Check the model and its loss on the curvature's examples: their gradients overflow.",
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
