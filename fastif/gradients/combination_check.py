"""Per-example gradients checked by a random combination: one backward pass for all of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.gradients.hooks import Pass, Pulled
from fastif.numerics.arithmetic import rounding_of

BLOCK, WHOLE = 1000, 100
"""Units in the last place by which a combination may differ: of the rows in one parameter, and of
the whole rows. The gradient of an attention key's bias is zero but for the rounding of others."""


@dataclass(frozen=True)
class Compared:
    """What a comparison says.

    Attributes:
        parameter: where the two differ most beyond rounding; empty if they agree.
        gap: by how much there, relative to the rows.
        decisive: whether there were at least two rows that are neither zero nor broken.
    """

    parameter: str
    gap: float
    decisive: bool


@torch.no_grad()
def compare(
    made: Pass, cotangent: Float[Tensor, "b c"], of: Pulled, rows: Float[Tensor, "b p"], seed: int
) -> Compared:
    """Σ w_i ∇L_i of the rows against the gradient of Σ w_i L_i, for random weights w.

    Rows may be those of the first examples only. The sizes |w_i| are near 1/‖∇L_i‖, so that no row
    drowns in another. Rows that belong to other examples, or lack something, do not cancel.
    """
    norms = rows.float().norm(dim=1)
    sound = torch.isfinite(norms)
    if not bool(sound.any()):
        return Compared("", 0.0, False)
    if not bool(sound.all()):  # a broken example spoils every sum over the batch
        made, cotangent = _again(made, of, sound.nonzero()[:, 0])
        rows, norms = rows[sound], norms[sound]
    weights = _weights(norms, seed)
    expected = _combined(made, cotangent, weights)
    found = weights.to(rows.dtype) @ rows
    space, slices = made.objective.space, made.objective.space.slices
    scales = torch.stack([_size(rows[:, at], weights) for at in slices])
    eps = rounding_of(cotangent)
    coarse = torch.finfo(rows.dtype).eps if rows.dtype.itemsize < cotangent.dtype.itemsize else 0.0
    allowed = (BLOCK * eps + 2 * coarse) * scales + WHOLE * eps * scales.norm()
    gaps = torch.stack([(found[at].float() - expected[at].float()).norm() for at in slices])
    beyond = gaps - allowed
    worst = int(beyond.nan_to_num(torch.inf).argmax())
    decisive = int((norms > 0).sum()) > 1
    if bool(beyond[worst] <= 0):
        return Compared("", 0.0, decisive)
    return Compared(space.names[worst], float(gaps[worst] / scales.norm()), decisive)


def _weights(norms: Float[Tensor, " b"], seed: int) -> Float[Tensor, " b"]:
    generator = torch.Generator().manual_seed(seed)
    sizes = 0.5 + torch.rand(len(norms), generator=generator)
    signs = 2.0 * torch.randint(0, 2, (len(norms),), generator=generator) - 1.0
    usual = norms[norms > 0].mean() if bool((norms > 0).any()) else norms.new_ones(())
    return (sizes * signs).to(norms) / torch.where(norms > 0, norms, usual)


def _size(rows: Tensor, weights: Tensor) -> Tensor:
    """The length of the weighted rows together."""
    return (rows.float().norm(dim=1) * weights).norm()


def _combined(made: Pass, cotangent: Tensor, weights: Tensor) -> Float[Tensor, " p"]:
    if not made.outputs.requires_grad:  # the model uses none of the parameters
        return cotangent.new_zeros(made.objective.space.size)
    found = torch.autograd.grad(
        made.outputs,
        tuple(made.params.values()),
        cotangent * _padded(weights, len(cotangent)).to(cotangent)[:, None],
        retain_graph=True,
        materialize_grads=True,
    )
    return torch.cat([dense(tensor).flatten() for tensor in found])


def _padded(weights: Tensor, count: int) -> Float[Tensor, " b"]:
    """Zero for the examples whose rows are not looked at."""
    return torch.nn.functional.pad(weights, (0, count - len(weights)))


def dense(gradient: Tensor) -> Tensor:
    """The same without gaps: an embedding may give its gradient by the rows that were read."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def _again(made: Pass, of: Pulled, kept: Tensor) -> tuple[Pass, Tensor]:
    """A pass over some of the examples, and what is pulled back through it."""
    few = {key: tensor[kept.to(tensor.device)] for key, tensor in made.batch.items()}
    other = Pass.run(made.objective, few)
    return other, next(other.columns(of))[0]
