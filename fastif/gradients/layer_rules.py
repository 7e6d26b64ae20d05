"""Gradients of single layers: from a layer's input and output gradient, example by example."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from fastif.numerics.arithmetic import rounding_of

PLAIN = (nn.Linear, nn.LayerNorm)
"""Layers whose gradients are written out here."""

ALIKE = 1e-4
"""Relative difference of a layer's output for an example by itself: rounding, no more."""


def is_linear(layer: nn.Module) -> bool:
    """Whether it computes what `nn.Linear` does; a subclass may do something else."""
    return isinstance(layer, nn.Linear) and is_plain(layer)


def is_plain(layer: nn.Module) -> bool:
    """Whether its gradients are written out here.

    >>> is_plain(nn.Linear(1, 1)), is_plain(nn.Bilinear(1, 1, 1))
    (True, False)
    """
    return "forward" not in vars(layer) and any(
        isinstance(layer, kind) and type(layer).forward is kind.forward for kind in PLAIN
    )


def positions(inputs: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Input and output gradient of a linear layer with all positions on one axis: [b t d]."""
    return (
        inputs.reshape(len(inputs), -1, inputs.shape[-1]),
        delta.reshape(len(delta), -1, delta.shape[-1]),
    )


def fill_linear(inputs: Tensor, delta: Tensor, blocks: dict[str, Tensor]) -> None:
    """∇W = Σ_t δ_t a_tᵀ and ∇bias = Σ_t δ_t over the positions t, straight into the workspace."""
    inputs, delta = positions(inputs, delta)
    if "weight" in blocks:
        block = blocks["weight"]
        torch.bmm(delta.mT.to(block.dtype), inputs.to(block.dtype), out=block)
    if "bias" in blocks:
        blocks["bias"].copy_(delta.sum(1))


def layer_gradients(
    layer: nn.Module, inputs: Tensor, delta: Tensor, outputs: Tensor | None = None
) -> dict[str, Tensor]:
    """The gradient of each example in the layer's own parameters, given its output gradient.

    Raises:
        ValueError: given an example by itself, the layer does not give its row of `outputs`.
    """
    if is_linear(layer):
        inputs, delta = positions(inputs, delta)
        return {"weight": delta.mT @ inputs, "bias": delta.sum(1)}
    if isinstance(layer, nn.LayerNorm) and is_plain(layer):
        normal = F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
        axes = tuple(range(1, delta.dim() - len(layer.normalized_shape)))
        weight, bias = delta * normal, delta
        return {
            "weight": weight.sum(axes) if axes else weight,
            "bias": bias.sum(axes) if axes else bias,
        }
    return _any_layer_gradients(layer, inputs, delta, outputs)


def _any_layer_gradients(
    layer: nn.Module, inputs: Tensor, delta: Tensor, outputs: Tensor | None
) -> dict[str, Tensor]:
    """The layer's own vector-Jacobian product, mapped over examples."""
    own = {name: tensor.detach() for name, tensor in layer.named_parameters()}

    def pull(one: Tensor, cotangent: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        made = vjp(lambda p: functional_call(layer, p, (one[None],))[0], own)
        return made[0], made[1](cotangent)[0]

    alone, found = vmap(pull)(inputs, delta)
    if outputs is not None and not _alike(alone, outputs.detach()):
        raise ValueError("it gives other outputs for an example by itself")
    return found


def _alike(found: Tensor, expected: Tensor) -> bool:
    """Whether they agree but for rounding; what is not finite has to be so in both."""
    if found.shape != expected.shape:
        return False
    sound = torch.isfinite(expected)
    if not torch.equal(sound, torch.isfinite(found)):
        return False
    scale = float(expected[sound].abs().max()) if bool(sound.any()) else 0.0
    most = max(ALIKE, 4 * rounding_of(expected))
    return torch.allclose(found[sound], expected[sound], rtol=most, atol=most * scale)
