"""Per-example gradients of single layers, from their inputs and output gradients."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from fastif.gradients.layer_factors import (
    CONVOLUTIONS,
    LINEAR_LAYERS,
    get_widths,
    has_factors,
    has_forward_of,
    has_transposed_weight,
    is_convolution,
    read_deltas,
    read_inputs,
)
from fastif.gradients.scale_layers import compute_scale_gradients
from fastif.models.parameters import Params, detach_params
from fastif.numerics.arithmetic import matmul_eps
from fastif.numerics.deferred_checks import assume_all

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CLOSED_FORM_LAYERS = (*LINEAR_LAYERS, nn.LayerNorm, nn.Embedding, *BATCH_NORMS)
"""Layers with a closed form of their gradients in this module, besides convolutions."""

MAX_PATCHES = 2**24
"""Numbers in the patches of a convolution in memory, unless one example has more."""

RELATIVE_TOLERANCE = 1e-4
"""Relative difference of a layer's output for a single example that counts as rounding."""


def has_closed_form(layer: nn.Module) -> bool:
    """Whether this module has a closed form of a layer's gradients.

    Examples:
        >>> has_closed_form(nn.Linear(1, 1)), has_closed_form(nn.Bilinear(1, 1, 1))
        (True, False)
    """
    if isinstance(layer, BATCH_NORMS) and (layer.training or layer.running_mean is None):
        return False  # statistics of the batch
    if isinstance(layer, CONVOLUTIONS):
        return is_convolution(layer)
    if isinstance(layer, nn.Embedding) and (layer.scale_grad_by_freq or layer.max_norm is not None):
        return False  # counts of the batch, and a weight that changes
    return has_forward_of(layer, CLOSED_FORM_LAYERS)


def fill_factor_gradients(
    layer: nn.Module, calls: Sequence[tuple[Tensor, Tensor]], blocks: dict[str, Tensor]
) -> None:
    """Write ∇W = Σ_t δ_t a_tᵀ and ∇bias = Σ_t δ_t over the positions t of all calls.

    The factors are rounded to the type of the workspace, into which one batched product writes. So
    a workspace in half precision needs no gradients in single precision.

    Args:
        layer: Linear layer or convolution.
        calls: Inputs of each call, one example in each row, with the gradients at its outputs.
        blocks: Gradients of each example in weight and bias, overwritten; either may be omitted.
    """
    deltas = _join_positions([read_deltas(layer, delta) for _, delta in calls])
    if "bias" in blocks:
        blocks["bias"].copy_(deltas.sum(2).transpose(0, 1).flatten(1))
    if "weight" not in blocks:
        return
    block = blocks["weight"]
    matrices = block.mT if has_transposed_weight(layer) else block.flatten(2)
    matrices = matrices.unflatten(1, (len(deltas), -1)).transpose(0, 1)
    for part in split_examples(len(block), deltas[:, 0, :, 0].numel() * get_widths(layer)[0]):
        inputs = _join_positions([read_inputs(layer, inputs[part]) for inputs, _ in calls])
        patches, own = inputs.to(block.dtype), deltas[:, part].mT.to(block.dtype)
        if len(deltas) == 1:
            torch.bmm(own[0], patches[0], out=matrices[0, part])
        else:
            matrices[:, part] = own @ patches


def _join_positions(calls: list[Tensor]) -> Float[Tensor, "g b t d"]:
    return calls[0] if len(calls) == 1 else torch.cat(calls, 2)


def split_examples(count: int, size: int) -> Iterator[slice]:
    """Split examples of `size` numbers each into parts of at most `MAX_PATCHES` numbers."""
    step = max(1, MAX_PATCHES // max(1, size))
    for start in range(0, count, step):
        yield slice(start, min(count, start + step))


def compute_layer_gradients(
    layer: nn.Module,
    inputs: Tensor,
    delta: Tensor,
    outputs: Tensor | None = None,
    params: Params | None = None,
) -> dict[str, Tensor]:
    """Return the gradients of each example in a layer's own parameters, from its output gradients.

    Args:
        layer: Layer with the parameters.
        inputs: Inputs of the call, one example in each row.
        delta: Gradients at the outputs of the call.
        outputs: Outputs of the call, to compare with those of single examples.
        params: Parameters of the layer in the call, by their names in it; the layer's own by
            default.

    Raises:
        ValueError: If the layer has other outputs for a single example than in the batch.
    """
    if has_factors(layer, inputs):
        weight, bias = getattr(layer, "weight"), read_deltas(layer, delta)  # noqa: B009
        blocks = {"weight": delta.new_empty(len(delta), *weight.shape)}
        blocks["bias"] = delta.new_empty(len(delta), len(bias) * bias.shape[3])
        fill_factor_gradients(layer, [(inputs, delta)], blocks)
        return blocks
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
    if isinstance(layer, nn.Embedding) and has_closed_form(layer):
        return _compute_embedding_gradients(layer, inputs, delta)
    params = params or detach_params(layer)
    scale_gradients = compute_scale_gradients(layer, inputs, delta, outputs, params)
    if scale_gradients is not None:
        return scale_gradients
    return _compute_vjp_gradients(layer, inputs, delta, outputs, params)


def _compute_batch_norm_gradients(
    layer: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d, inputs: Tensor, delta: Tensor
) -> dict[str, Tensor]:
    """Return the gradients of a batch normalisation with running statistics."""
    normal = F.batch_norm(inputs, layer.running_mean, layer.running_var, eps=layer.eps)
    sums = {"weight": delta * normal, "bias": delta}
    return {name: grads.reshape(*grads.shape[:2], -1).sum(2) for name, grads in sums.items()}


def _compute_embedding_gradients(
    layer: nn.Embedding, inputs: Tensor, delta: Tensor
) -> dict[str, Tensor]:
    """Return the gradients of an embedding: sums of the output gradients of each entry's uses."""
    count, (entries, width) = len(inputs), layer.weight.shape
    weight = delta.new_zeros(count * entries, width)
    first = torch.arange(count, device=inputs.device)[:, None] * entries
    weight.index_add_(0, (first + inputs.flatten(1)).flatten(), delta.reshape(-1, width))
    weight = weight.view(count, entries, width)
    if layer.padding_idx is not None:
        weight[:, layer.padding_idx] = 0
    return {"weight": weight}


def _compute_vjp_gradients(
    layer: nn.Module, inputs: Tensor, delta: Tensor, outputs: Tensor | None, params: Params
) -> dict[str, Tensor]:
    """Vector-Jacobian products of a layer, mapped over examples with vmap."""

    def compute_vjp(example: Tensor, cotangent: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        result = vjp(lambda p: functional_call(layer, p, (example[None],))[0], dict(params))
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
    sizes = expected.abs().masked_fill(~finite, 0)
    tolerance = max(RELATIVE_TOLERANCE, 4 * matmul_eps(expected))
    is_close = (outputs - expected).abs() <= tolerance * (sizes + sizes.max())
    return assume_all((torch.isfinite(outputs) == finite) & (is_close | ~finite))
