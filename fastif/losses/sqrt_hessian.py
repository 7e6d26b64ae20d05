"""Coefficients of a loss gradient in the columns of its Hessian's square root."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.losses.loss import Loss

SPAN_TOLERANCE = 1e-4
"""Relative norm of a gradient outside the columns that is accepted as rounding."""


def gradient_in_sqrt_hessian(
    loss: Loss, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
) -> Float[Tensor, "b r"]:
    """Coefficients u with S u = ∂L/∂z, S the square root of the loss Hessian; NaN if none exist.

    In double precision. A loss with zero Hessian and non-zero gradient (a hinge; a softmax with
    probabilities that round to 0 and 1) has none. Columns of S may differ by many orders of
    magnitude, as probabilities do, so they are normalised before the pseudo-inverse.

    Examples:
        >>> from fastif import CrossEntropy, SmoothHinge
        >>> logits = torch.tensor([[4.0, -4.0]])
        >>> # √((1 - π) / π) with π = σ(-8)
        >>> gradient_in_sqrt_hessian(CrossEntropy(), logits, torch.tensor([1])).round(decimals=2)
        tensor([[54.6000]], dtype=torch.float64)
        >>> gradient_in_sqrt_hessian(SmoothHinge(), torch.tensor([[-3.0]]), torch.tensor([1]))
        tensor([[nan]], dtype=torch.float64)
    """
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf, targets).sum(), leaf)
    blocks = loss.sqrt_hessian_blocks(outputs.detach(), targets).double()
    coefficients = _solve_blocks(blocks.flatten(0, 1), gradient.double().view(-1, blocks.shape[2]))
    coefficients = coefficients.view(len(outputs), -1)
    return coefficients.masked_fill(coefficients.isnan().any(1, keepdim=True), torch.nan)


def _solve_blocks(
    factor: Float[Tensor, "b c r"], gradient: Float[Tensor, "b c"]
) -> Float[Tensor, "b r"]:
    """Return the least-squares coefficients of each gradient; NaN where it is outside the span."""
    column_norms = factor.norm(dim=1, keepdim=True)
    scaled = torch.where(column_norms > 0, factor / column_norms, 0.0)
    finite = torch.isfinite(scaled).all((1, 2)) & torch.isfinite(gradient).all(1)
    inverse = torch.linalg.pinv(scaled.nan_to_num(0.0, 0.0, 0.0))
    coefficients = torch.where(
        column_norms[:, 0] > 0, (inverse @ gradient[:, :, None])[:, :, 0] / column_norms[:, 0], 0.0
    )
    outside = ((factor @ coefficients[:, :, None])[:, :, 0] - gradient).norm(dim=1)
    in_span = finite & (outside <= SPAN_TOLERANCE * gradient.norm(dim=1))
    return coefficients.masked_fill(~in_span[:, None], torch.nan)


def iterate_columns(
    blocks: Float[Tensor, "b k m r"], weights: Float[Tensor, "b c"] | None = None
) -> Iterator[Float[Tensor, "b n"]]:
    """Iterate over the columns of a block-diagonal S, or return S z for weights z of its columns.

    Only one column is in memory, which is zero outside of its block.
    """
    count, num_blocks, size, rank = blocks.shape
    if weights is not None:
        by_block = weights.to(blocks.dtype).view(count, num_blocks, rank, 1)
        yield (blocks @ by_block).reshape(count, -1)
        return
    for place in range(num_blocks):
        for column in blocks[:, place].unbind(-1):
            if num_blocks == 1:
                yield column
                continue
            padded = column.new_zeros(count, num_blocks, size)
            padded[:, place] = column
            yield padded.flatten(1)
