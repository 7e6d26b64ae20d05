"""Per-example gradients of single layers, from their inputs and output gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from transformers.pytorch_utils import Conv1D

from fastif.gradients.rms_norm import compute_rms_norm_gradients, is_rms_norm
from fastif.numerics.arithmetic import matmul_eps

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CLOSED_FORM_LAYERS = (nn.Linear, Conv1D, nn.LayerNorm, *BATCH_NORMS)
"""Layers with a closed form of their gradients in this module."""

RELATIVE_TOLERANCE = 1e-4
"""Relative difference of a layer's output for a single example that counts as rounding."""


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer computes what `nn.Linear` does; a subclass may override its forward pass.

    The `Conv1D` of GPT-2 does, with a transposed weight.
    """
    return isinstance(layer, nn.Linear | Conv1D) and has_closed_form(layer)


def has_transposed_weight(layer: nn.Module) -> bool:
    """Whether the weight of a linear layer is [i o] of inputs x outputs instead of [o i]."""
    return isinstance(layer, Conv1D)


def has_closed_form(layer: nn.Module) -> bool:
    """Whether this module has a closed form of a layer's gradients.

    Examples:
        >>> has_closed_form(nn.Linear(1, 1)), has_closed_form(nn.Bilinear(1, 1, 1))
        (True, False)
    """
    if isinstance(layer, BATCH_NORMS) and (layer.training or layer.running_mean is None):
        return False  # statistics of the batch
    return "forward" not in vars(layer) and any(
        isinstance(layer, kind) and type(layer).forward is kind.forward
        for kind in CLOSED_FORM_LAYERS
    )


def flatten_positions(inputs: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten all positions of a linear layer's input and output gradient to one axis: [b t d]."""
    return (
        inputs.reshape(len(inputs), -1, inputs.shape[-1]),
        delta.reshape(len(delta), -1, delta.shape[-1]),
    )


def fill_linear_gradients(
    inputs: Tensor, delta: Tensor, blocks: dict[str, Tensor], transposed: bool = False
) -> None:
    """Write ∇W = Σ_t δ_t a_tᵀ and ∇bias = Σ_t δ_t over positions t into the workspace."""
    inputs, delta = flatten_positions(inputs, delta)
    if "weight" in blocks:
        block = blocks["weight"]
        left, right = (inputs, delta) if transposed else (delta, inputs)
        torch.bmm(left.mT.to(block.dtype), right.to(block.dtype), out=block)
    if "bias" in blocks:
        blocks["bias"].copy_(delta.sum(1))


def compute_layer_gradients(
    layer: nn.Module, inputs: Tensor, delta: Tensor, outputs: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the gradients of each example in a layer's own parameters, from its output gradients.

    Args:
        layer: Layer with the parameters.
        inputs: Inputs of the call, one example in each row.
        delta: Gradients at the outputs of the call.
        outputs: Outputs of the call, to compare with those of single examples.

    Raises:
        ValueError: If the layer has other outputs for a single example than in the batch.
    """
    if is_linear(layer):
        inputs, delta = flatten_positions(inputs, delta)
        weight = inputs.mT @ delta if has_transposed_weight(layer) else delta.mT @ inputs
        return {"weight": weight, "bias": delta.sum(1)}
    if isinstance(layer, nn.LayerNorm) and has_closed_form(layer):
        normal = F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
        axes = tuple(range(1, delta.dim() - len(layer.normalized_shape)))
        weight, bias = delta * normal, delta
        return {
            "weight": weight.sum(axes) if axes else weight,
            "bias": bias.sum(axes) if axes else bias,
        }
    if isinstance(layer, BATCH_NORMS) and has_closed_form(layer):
        return _compute_batch_norm_gradients(layer, inputs, delta)
    if is_rms_norm(layer):
        gradients = compute_rms_norm_gradients(layer, inputs, delta, outputs)
        if gradients is not None:
            return gradients
    return _compute_vjp_gradients(layer, inputs, delta, outputs)


def _compute_batch_norm_gradients(
    layer: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d, inputs: Tensor, delta: Tensor
) -> dict[str, Tensor]:
    """Return the gradients of a batch normalisation with running statistics."""
    normal = F.batch_norm(inputs, layer.running_mean, layer.running_var, eps=layer.eps)
    sums = {"weight": delta * normal, "bias": delta}
    return {name: grads.reshape(*grads.shape[:2], -1).sum(2) for name, grads in sums.items()}


def _compute_vjp_gradients(
    layer: nn.Module, inputs: Tensor, delta: Tensor, outputs: Tensor | None
) -> dict[str, Tensor]:
    """Vector-Jacobian products of a layer, mapped over examples with vmap."""
    own_params = {name: tensor.detach() for name, tensor in layer.named_parameters()}

    def compute_vjp(example: Tensor, cotangent: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        result = vjp(lambda p: functional_call(layer, p, (example[None],))[0], own_params)
        return result[0], result[1](cotangent)[0]

    example_outputs, gradients = vmap(compute_vjp)(inputs, delta)
    if outputs is not None and not _agrees_within_rounding(example_outputs, outputs.detach()):
        raise ValueError("its outputs for a single example differ from those in the batch")
    return gradients


def _agrees_within_rounding(outputs: Tensor, expected: Tensor) -> bool:
    """Whether two outputs agree up to rounding, with nonfinite entries in equal places."""
    if outputs.shape != expected.shape:
        return False
    finite = torch.isfinite(expected)
    if not torch.equal(finite, torch.isfinite(outputs)):
        return False
    scale = float(expected[finite].abs().max()) if bool(finite.any()) else 0.0
    tolerance = max(RELATIVE_TOLERANCE, 4 * matmul_eps(expected))
    return torch.allclose(outputs[finite], expected[finite], rtol=tolerance, atol=tolerance * scale)
