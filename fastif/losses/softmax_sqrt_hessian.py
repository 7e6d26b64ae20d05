"""Square root of the Hessian of log-sum-exp, for all softmax losses."""

import torch
from jaxtyping import Float
from torch import Tensor


def softmax_sqrt_hessian(logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c r"]:
    """Closed-form Cholesky factor S of diag(π) - ππᵀ, the Hessian of log Σ exp(logits).

    Exact, with r = c - 1 columns (Tanabe and Sagae, 1992), so two classes need one column.
    """
    probability = logits.softmax(-1)
    # tail_mass[:, j] = probability of classes j and above, summed from the end: a tiny tail keeps
    # its digits, which 1 - (nearly 1) would lose.
    tail_mass = probability.flip(-1).cumsum(-1).flip(-1)
    remaining_mass, later_mass = tail_mass[:, :-1], tail_mass[:, 1:]
    tiny = torch.finfo(logits.dtype).tiny
    scale = (probability[:, :-1] / (remaining_mass * later_mass).clamp_min(tiny)).sqrt()
    below = -probability[:, :, None] * scale[:, None, :]
    factor = below.tril(-1)
    factor[:, :-1] += torch.diag_embed(later_mass * scale)
    return factor
