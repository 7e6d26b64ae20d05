"""The curvature of log-sum-exp, which all softmax losses share."""

import torch
from jaxtyping import Float
from torch import Tensor


def softmax_sqrt_hessian(logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c r"]:
    """S with S Sᵀ = diag(π) - ππᵀ, the Hessian of log Σ exp(logits), and r = c-1 columns.

    The exact Cholesky factor in closed form (Tanabe and Sagae, 1992), so two classes cost one
    column.
    """
    probability = logits.softmax(-1)
    # rest[:, j] = what is left after classes 0..j; summed from the end so that a tiny rest
    # keeps its digits instead of drowning in 1 - (nearly 1).
    tail_mass = probability.flip(-1).cumsum(-1).flip(-1)
    remaining_mass, later_mass = tail_mass[:, :-1], tail_mass[:, 1:]
    tiny = torch.finfo(logits.dtype).tiny
    scale = (probability[:, :-1] / (remaining_mass * later_mass).clamp_min(tiny)).sqrt()
    below = -probability[:, :, None] * scale[:, None, :]
    factor = below.tril(-1)
    factor[:, :-1] += torch.diag_embed(later_mass * scale)
    return factor
