"""Gradients of single layers: from a layer's input and output gradient, example by example."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from fastif.numerics.arithmetic import matmul_eps

CLOSED_FORM_LAYERS = (nn.Linear, nn.LayerNorm)
"""Layers whose gradients are written out here."""

RELATIVE_TOLERANCE = 1e-4
"""Relative difference of a layer's output for an example by itself: rounding, no more."""


def is_linear(layer: nn.Module) -> bool:
    """Whether it computes what `nn.Linear` does; a subclass may do something else."""
    return isinstance(layer, nn.Linear) and has_closed_form(layer)


def has_closed_form(layer: nn.Module) -> bool:
    """Whether its gradients are written out here.

    >>> has_closed_form(nn.Linear(1, 1)), has_closed_form(nn.Bilinear(1, 1, 1))
    (True, False)
    """
    return "forward" not in vars(layer) and any(
        isinstance(layer, kind) and type(layer).forward is kind.forward
        for kind in CLOSED_FORM_LAYERS
    )


def flatten_positions(inputs: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Input and output gradient of a linear layer with all positions on one axis: [b t d]."""
    return (
        inputs.reshape(len(inputs), -1, inputs.shape[-1]),
        delta.reshape(len(delta), -1, delta.shape[-1]),
    )


def fill_linear_gradients(inputs: Tensor, delta: Tensor, blocks: dict[str, Tensor]) -> None:
    """∇W = Σ_t δ_t a_tᵀ and ∇bias = Σ_t δ_t over the positions t, straight into the workspace."""
    inputs, delta = flatten_positions(inputs, delta)
    if "weight" in blocks:
        block = blocks["weight"]
        torch.bmm(delta.mT.to(block.dtype), inputs.to(block.dtype), out=block)
    if "bias" in blocks:
        blocks["bias"].copy_(delta.sum(1))


def compute_layer_gradients(
    layer: nn.Module, inputs: Tensor, delta: Tensor, outputs: Tensor | None = None
) -> dict[str, Tensor]:
    """The gradient of each example in the layer's own parameters, given its output gradient.

    Raises:
        ValueError: given an example by itself, the layer does not give its row of `outputs`.
    """
    if is_linear(layer):
        inputs, delta = flatten_positions(inputs, delta)
        return {"weight": delta.mT @ inputs, "bias": delta.sum(1)}
    if isinstance(layer, nn.LayerNorm) and has_closed_form(layer):
        normal = F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
        axes = tuple(range(1, delta.dim() - len(layer.normalized_shape)))
        weight, bias = delta * normal, delta
        return {
            "weight": weight.sum(axes) if axes else weight,
            "bias": bias.sum(axes) if axes else bias,
        }
    return _compute_vjp_gradients(layer, inputs, delta, outputs)


def _compute_vjp_gradients(
    layer: nn.Module, inputs: Tensor, delta: Tensor, outputs: Tensor | None
) -> dict[str, Tensor]:
    """The layer's own vector-Jacobian product, mapped over examples."""
    own_params = {name: tensor.detach() for name, tensor in layer.named_parameters()}

    def compute_vjp(example: Tensor, cotangent: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        result = vjp(lambda p: functional_call(layer, p, (example[None],))[0], own_params)
        return result[0], result[1](cotangent)[0]

    example_outputs, gradients = vmap(compute_vjp)(inputs, delta)
    if outputs is not None and not _agrees_within_rounding(example_outputs, outputs.detach()):
        raise ValueError("it gives other outputs for an example by itself")
    return gradients


def _agrees_within_rounding(outputs: Tensor, expected: Tensor) -> bool:
    """Whether they agree but for rounding; what is not finite has to be so in both."""
    if outputs.shape != expected.shape:
        return False
    finite = torch.isfinite(expected)
    if not torch.equal(finite, torch.isfinite(outputs)):
        return False
    scale = float(expected[finite].abs().max()) if bool(finite.any()) else 0.0
    tolerance = max(RELATIVE_TOLERANCE, 4 * matmul_eps(expected))
    return torch.allclose(outputs[finite], expected[finite], rtol=tolerance, atol=tolerance * scale)
