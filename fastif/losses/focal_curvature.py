"""First and second derivative of the focal loss in the log probability of the target."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.errors import InputError


def compute_focal_curvature(
    log_other: Float[Tensor, "*s"], gamma: float
) -> tuple[Float[Tensor, "*s"], Float[Tensor, "*s"]]:
    """Curvature of -(1-p)^γ log p, across and along the gradient of log p.

    With u = log p and ψ(u) = -(1-eᵘ)^γ u the Hessian in the logits is

        -ψ' (diag(π) - ππᵀ) + ψ'' v vᵀ,    v = ∂u/∂z

    On the range of diag(π) - ππᵀ = S Sᵀ it is S (a (I - t tᵀ) + k t tᵀ) Sᵀ with the unit vector t
    along Sᵀ e_target, a = -ψ' ≥ 0 and k = -ψ' + ψ'' (1-p)/p.

    Args:
        log_other: log(1 - p), the log probability of the other classes together.
        gamma: Exponent γ.

    Returns:
        The curvature a, never negative, and k, negative where the target is predicted with a small
        probability.
    """
    other = log_other.exp()
    chosen = 1 - other
    log_chosen = torch.log1p(-other)
    # u / (1-p), whose limit is -1 as p goes to 1
    ratio = torch.where(other > 0, log_chosen / other.clamp_min(torch.finfo(other.dtype).tiny), -1)
    power = (gamma * log_other).exp()
    tail = torch.where(chosen > 0, chosen * ratio, 0.0)
    across = power * (1 - gamma * tail)
    bounded = torch.where(chosen > 0, log_chosen, 0.0)
    along = power * (1 + gamma * (bounded + 2) - gamma**2 * tail)
    return across, along


def check_gamma(gamma: float) -> None:
    """Refuse an exponent of the focal loss below 0.

    Raises:
        InputError: It is not a finite number of 0 or more.
    """
    if not 0 <= gamma < math.inf:
        raise InputError(
            "gamma",
            "a finite number of 0 or more",
            f"{gamma}",
            "Set the exponent with which the model was trained, such as 2.0.",
        )
