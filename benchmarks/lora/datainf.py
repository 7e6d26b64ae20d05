"""DataInf (Kwon et al., 2024): the inverse of each layer's curvature as a mean of inverses."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

SHARE = 0.1
"""Damping of a layer, as a share of the mean squared entry of its gradients, in the paper."""


def compute_datainf(
    queries: Float[Tensor, "q p"],
    train: Float[Tensor, "n p"],
    layers: Sequence[slice],
    share: float = SHARE,
) -> Float[Tensor, "q n"]:
    """Return the effects of all training rows by DataInf (Kwon et al., 2024, equation 5).

        Σ_l 1/λ_l [ v_l·g_kl − 1/n Σ_i (v_l·g_il)(g_il·g_kl) / (λ_l + ‖g_il‖²) ]

    It replaces (1/n Σ_i g_i g_iᵀ + λ)⁻¹ by 1/n Σ_i (g_i g_iᵀ + λ)⁻¹, a layer at a time, with
    λ_l = share · Σ_i ‖g_il‖² / (n d_l). A positive effect is that of a helpful row.

    Args:
        queries: Loss gradients v of the queries.
        train: Loss gradients g of the training rows.
        layers: Coordinates of each layer, of size d_l.
        share: Damping as a share of the mean squared entry of a layer's gradients.
    """
    effects = queries.new_zeros(len(queries), len(train), dtype=torch.float64)
    for layer in layers:
        v, g = queries[:, layer].double(), train[:, layer].double()
        squares = g.square().sum(1)
        damping = share * float(squares.mean()) / g.shape[1]
        if damping == 0:
            continue  # a layer without a gradient has no effect
        product, kernel = v @ g.T, g @ g.T
        effects += (product - (product / (damping + squares)) @ kernel / len(g)) / damping
    return effects
