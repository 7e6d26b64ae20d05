"""Gradient clipping by the global norm (Pascanu et al., 2013), and its reverse."""

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.numerics.blocked_dot import row_norms

NORM_OFFSET = 1e-6
"""Constant that `torch.nn.utils.clip_grad_norm_` adds to the norm."""


def clip_gradient(
    gradient: Float[Tensor, " p"], max_norm: float | None
) -> tuple[Float[Tensor, " p"], float]:
    """Scale a gradient to at most a norm, as `torch.nn.utils.clip_grad_norm_` does.

    Args:
        gradient: Gradient of all trained parameters.
        max_norm: Largest norm; None for no clipping.

    Returns:
        The scaled gradient, and the factor min(1, max_norm / (‖g‖ + 1e-6)).

    Examples:
        >>> clip_gradient(torch.tensor([3.0, 4.0]), 10.0)
        (tensor([3., 4.]), 1.0)
    """
    if max_norm is None:
        return gradient, 1.0
    factor = min(1.0, max_norm / (float(torch.linalg.vector_norm(gradient)) + NORM_OFFSET))
    return (gradient, 1.0) if factor == 1 else (gradient * factor, factor)


def pull_back_clipping(
    gradient: Float[Tensor, " p"], factor: float, adjoints: Float[Tensor, "q p"]
) -> None:
    """Turn adjoints of the clipped gradient into those of the gradient itself, in place.

    With c = max_norm / (‖g‖ + δ):  dc/dg = -c / (‖g‖ + δ) · g / ‖g‖.

    Args:
        gradient: Gradient before clipping.
        factor: Factor of the clipping; 1 if the gradient was not clipped.
        adjoints: Adjoints of the clipped gradient, one in each row.
    """
    if factor == 1:
        return
    norm = float(row_norms(gradient[None]))
    along = adjoints @ gradient
    adjoints.mul_(factor)
    adjoints.addr_(along, gradient, alpha=-factor / (norm + NORM_OFFSET) / norm)
