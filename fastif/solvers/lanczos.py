"""How large an operator is, and how much larger its mini-batches are."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import Damped, LinearOperator, Rooted
from fastif.errors import InputError

Inverse = Callable[[Tensor], Tensor]
"""Rows times a fixed positive definite matrix P⁻¹; it returns new rows."""

STEPS = 12
CLOSE = 0.05
SAMPLES = 16


def unchanged(rows: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
    """P⁻¹ of a solver without a preconditioner."""
    return rows


def top_eigenvalue(
    operator: LinearOperator, inverse: Inverse = unchanged, seed: int = 0, steps: int = STEPS
) -> float:
    """The largest |eigenvalue| of P⁻¹A, from above: Lanczos in the inner product of P.

    A Ritz value θ is below the largest eigenvalue; θ plus its residual is above it in all but
    contrived cases (Zhou and Li, 2011), and stops the iteration once it is within 5 % of θ.

    >>> from fastif.curvature import Dense
    >>> round(top_eigenvalue(Dense(torch.diag(torch.tensor([3.0, 1.0, -2.0])))), 3)
    3.0
    """
    generator = torch.Generator().manual_seed(seed)
    like = operator.like
    left = torch.randn(1, operator.size, generator=generator, dtype=like.dtype).to(like.device)
    before, beta = torch.zeros_like(left), 0.0
    direction = inverse(left)
    size = _norm(left, direction)
    left, direction = left / size, direction / size
    matrix = torch.zeros(steps, steps, dtype=torch.float64)
    bound = 0.0
    for step in range(min(steps, operator.size)):
        product = operator.apply(direction)
        alpha = float((product * direction).sum())
        check_finite_products(product)
        product = product - alpha * left - beta * before
        solved = inverse(product)
        beta = _norm(product, solved)
        matrix[step, step] = alpha
        ritz, vectors = torch.linalg.eigh(matrix[: step + 1, : step + 1])
        at = int(ritz.abs().argmax())
        theta, rest = float(ritz[at].abs()), beta * float(vectors[-1, at].abs())
        bound = theta + rest
        if step + 1 == steps or not rest > CLOSE * theta:
            break
        matrix[step, step + 1] = matrix[step + 1, step] = beta
        before, left, direction = left, product / beta, solved / beta
    return bound


def batch_excess(
    operator: Damped, batch: int, inverse: Inverse = unchanged, seed: int = 0
) -> float:
    """How far P⁻¹A_B of `batch` examples drawn afresh may exceed P⁻¹A, for a step that is safe.

    With T = P^-½ A P^-½ and t_i the largest eigenvalue of example i, E[T_B²] <= T² + max t_i / B T,
    so that the mean square of an error shrinks at every step of scale top(T) + max t_i / B and
    larger. For a Gauss-Newton matrix t_i is at most the sum of r P⁻¹ rᵀ over the example's root
    rows r (equal with one row: two classes), read off all of them in one sweep. Of other operators
    some mini-batches are looked at.
    """
    inner = operator.operator
    if isinstance(inner, Rooted):
        return _largest_trace(inner, inverse) / batch
    generator = torch.Generator().manual_seed(seed)
    found = 0.0
    for place in range(SAMPLES):
        sampled = inner.sample(generator, batch)
        if sampled is inner:
            return 0.0
        found = max(found, top_eigenvalue(sampled, inverse, seed + place))
    return found


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


def _largest_trace(rooted: Rooted, inverse: Inverse) -> float:
    largest = 0.0
    for piece in range(rooted.pieces):
        columns = [(tile.rows * inverse(tile.rows)).sum(1) for tile in rooted.roots(piece)]
        largest = max(largest, float(torch.stack(columns).sum(0).max()))
    return largest


def _norm(rows: Tensor, solved: Tensor) -> float:
    return float((rows * solved).sum().clamp_min(0).sqrt())
