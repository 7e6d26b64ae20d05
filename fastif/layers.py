"""Gradients of single layers: from a layer's input and output gradient, example by example."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap


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


def layer_gradients(layer: nn.Module, inputs: Tensor, delta: Tensor) -> dict[str, Tensor]:
    """The gradient of each example in the layer's own parameters, given its output gradient."""
    if isinstance(layer, nn.Linear):
        inputs, delta = positions(inputs, delta)
        return {"weight": delta.mT @ inputs, "bias": delta.sum(1)}
    if isinstance(layer, nn.LayerNorm):
        normal = F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
        axes = tuple(range(1, delta.dim() - len(layer.normalized_shape)))
        weight, bias = delta * normal, delta
        return {
            "weight": weight.sum(axes) if axes else weight,
            "bias": bias.sum(axes) if axes else bias,
        }
    return _any_layer_gradients(layer, inputs, delta)


def _any_layer_gradients(layer: nn.Module, inputs: Tensor, delta: Tensor) -> dict[str, Tensor]:
    """The layer's own vector-Jacobian product, mapped over examples."""
    own = {name: tensor.detach() for name, tensor in layer.named_parameters()}

    def pull(one: Tensor, cotangent: Tensor) -> dict[str, Tensor]:
        pullback = vjp(lambda p: functional_call(layer, p, (one[None],))[0], own)[1]
        return pullback(cotangent)[0]

    return vmap(pull)(inputs, delta)
