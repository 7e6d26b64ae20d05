"""Check of per-example gradients: a random linear combination against one backward pass."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.hooks import GradientOf, HookedPass
from fastif.numerics.arithmetic import matmul_eps

PARAMETER_ULPS, VECTOR_ULPS = 1000, 100
"""Allowed difference in units in the last place: of one parameter's gradients, and of all.

The exact gradient of an attention key's bias is zero, so it holds only rounding of other terms.
"""


PARAMETER_AUTOCAST, VECTOR_AUTOCAST = 0.1, 0.03
"""Allowed difference of gradients from passes by autocast, relative to their norms.

Both sides round every activation to 8 bits. Gradients of other examples differ by the whole norm.
"""


@dataclass(frozen=True)
class ComparisonResult:
    """Result of comparing per-example gradients with a backward pass.

    Attributes:
        parameter: Parameter with the largest difference beyond rounding; empty if all agree.
        gap: Size of that difference, relative to the norm of the combined gradients.
        decisive: Whether at least two gradients are nonzero and finite.
    """

    parameter: str
    gap: float
    decisive: bool


@torch.no_grad()
def compare_with_backward(
    hooked_pass: HookedPass,
    cotangent: Float[Tensor, "b c"],
    gradient_of: GradientOf,
    tile: GradientTile,
    seed: int,
) -> ComparisonResult:
    """Compare Σ w_i ∇L_i of given gradients with the gradient of Σ w_i L_i, for random weights w.

    The sizes |w_i| are near 1/‖∇L_i‖, so that every gradient contributes equally. Gradients that
    belong to other examples, or lack a term, do not cancel.

    Args:
        hooked_pass: Forward pass with hooks over the b examples of a batch.
        cotangent: Gradient in the outputs that is propagated back.
        gradient_of: Function that is differentiated.
        tile: Gradients to check, of the first m examples or of all.
        seed: Random seed of the weights.
    """
    space = hooked_pass.objective.space
    parameter_norms = torch.stack(tile.parameter_norms(space.slices))
    norms = parameter_norms.norm(dim=0)
    finite = torch.isfinite(norms)
    if not bool(finite.any()):
        return ComparisonResult("", 0.0, False)
    if not bool(finite.all()):  # a nonfinite example makes every sum over the batch nonfinite
        kept = finite.nonzero()[:, 0]
        hooked_pass, cotangent = _rerun_on_subset(hooked_pass, gradient_of, kept)
        tile, parameter_norms, norms = tile.select(kept), parameter_norms[:, kept], norms[kept]
    weights = _weights(norms, seed)
    expected = _combine_by_backward(hooked_pass, cotangent, weights)
    dtype = tile.dtype
    combined = torch.zeros(1, space.size, dtype=dtype, device=weights.device)
    tile.accumulate(combined, weights.to(dtype)[None])
    combined, slices = combined[0], space.slices
    scales = (parameter_norms * weights).norm(dim=1)
    allowed = _allow_rounding(hooked_pass.objective.like, cotangent, dtype, scales)
    gaps = torch.stack(
        [(combined[columns].float() - expected[columns].float()).norm() for columns in slices]
    )
    excess = gaps - allowed
    worst = int(excess.nan_to_num(torch.inf).argmax())
    decisive = int((norms > 0).sum()) > 1
    if bool(excess[worst] <= 0):
        return ComparisonResult("", 0.0, decisive)
    return ComparisonResult(space.names[worst], float(gaps[worst] / scales.norm()), decisive)


def _allow_rounding(
    like: Tensor, cotangent: Tensor, dtype: torch.dtype, scales: Float[Tensor, " m"]
) -> Float[Tensor, " m"]:
    """Return the difference that rounding may cause in each parameter, of gradients of `dtype`."""
    if cotangent.dtype.itemsize < like.dtype.itemsize:  # passes by autocast
        return PARAMETER_AUTOCAST * scales + VECTOR_AUTOCAST * scales.norm()
    eps = matmul_eps(cotangent)
    coarse = torch.finfo(dtype).eps if dtype.itemsize < cotangent.dtype.itemsize else 0.0
    return (PARAMETER_ULPS * eps + 2 * coarse) * scales + VECTOR_ULPS * eps * scales.norm()


def _weights(norms: Float[Tensor, " b"], seed: int) -> Float[Tensor, " b"]:
    generator = torch.Generator().manual_seed(seed)
    sizes = 0.5 + torch.rand(len(norms), generator=generator)
    signs = 2.0 * torch.randint(0, 2, (len(norms),), generator=generator) - 1.0
    mean_norm = norms[norms > 0].mean() if bool((norms > 0).any()) else norms.new_ones(())
    return (sizes * signs).to(norms) / torch.where(norms > 0, norms, mean_norm)


def _combine_by_backward(
    hooked_pass: HookedPass, cotangent: Tensor, weights: Tensor
) -> Float[Tensor, " p"]:
    if not hooked_pass.outputs.requires_grad:  # the model uses none of the parameters
        return cotangent.new_zeros(hooked_pass.objective.space.size)
    grads = torch.autograd.grad(
        hooked_pass.outputs,
        tuple(hooked_pass.params.values()),
        cotangent * _pad_weights(weights, len(cotangent)).to(cotangent)[:, None],
        retain_graph=True,
        materialize_grads=True,
    )
    return torch.cat([to_dense(tensor).flatten() for tensor in grads])


def _pad_weights(weights: Tensor, count: int) -> Float[Tensor, " b"]:
    """Pad the weights with zeros for examples without a gradient to check."""
    return torch.nn.functional.pad(weights, (0, count - len(weights)))


def to_dense(gradient: Tensor) -> Tensor:
    """Return a dense gradient: that of an embedding may be sparse, with the rows that were read."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def _rerun_on_subset(
    hooked_pass: HookedPass, gradient_of: GradientOf, positions: Tensor
) -> tuple[HookedPass, Tensor]:
    """Return a forward pass over some of the examples, and the gradient in its outputs."""
    few = {key: tensor[positions.to(tensor.device)] for key, tensor in hooked_pass.batch.items()}
    subset_pass = HookedPass.run(hooked_pass.objective, few, hooked_pass.precision)
    return subset_pass, next(subset_pass.backpropagate(gradient_of))[0]
