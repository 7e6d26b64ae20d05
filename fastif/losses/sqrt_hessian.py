"""A loss's gradient in the outputs, in the columns of its curvature's root."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.losses.loss import Loss

ENOUGH = 1e-4
"""Relative length of what of a gradient may lie outside the root's columns: rounding, no more."""


def in_root(
    loss: Loss, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
) -> Float[Tensor, "b r"]:
    """U with S u = d loss / d outputs, S the root, in double precision; NaN where there is none.

    A loss whose Hessian can be zero where its gradient is not (a hinge, a softmax so sure that its
    probabilities round to 0 and 1) has none there. Columns of S may differ by many orders of
    magnitude (the probabilities do), so they are scaled to length one before they are inverted.

    >>> from fastif import CrossEntropy, SmoothHinge
    >>> sure = torch.tensor([[4.0, -4.0]])
    >>> found = in_root(CrossEntropy(), sure, torch.tensor([1]))  # √((1 - π) / π) with π = σ(-8)
    >>> found.round(decimals=2)
    tensor([[54.6000]], dtype=torch.float64)
    >>> in_root(SmoothHinge(), torch.tensor([[-3.0]]), torch.tensor([1]))
    tensor([[nan]], dtype=torch.float64)
    """
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_()
        (pull,) = torch.autograd.grad(loss(leaf, targets).sum(), leaf)
    root, pull = loss.root(outputs.detach(), targets).double(), pull.double()
    sizes = root.norm(dim=1, keepdim=True)
    scaled = torch.where(sizes > 0, root / sizes, 0.0)
    finite = torch.isfinite(scaled).all((1, 2)) & torch.isfinite(pull).all(1)
    inverse = torch.linalg.pinv(scaled.nan_to_num(0.0, 0.0, 0.0))
    found = torch.where(sizes[:, 0] > 0, (inverse @ pull[:, :, None])[:, :, 0] / sizes[:, 0], 0.0)
    outside = ((root @ found[:, :, None])[:, :, 0] - pull).norm(dim=1)
    inside = finite & (outside <= ENOUGH * pull.norm(dim=1))
    return found.masked_fill(~inside[:, None], torch.nan)
