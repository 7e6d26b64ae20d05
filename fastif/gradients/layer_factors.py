"""Inputs and output gradients of linear layers and convolutions, as factors of outer products.

A convolution is a linear layer of patches: at each output position it multiplies its weight with
the patch of the input under its kernel. A grouped one is a linear layer for each group.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LINEAR_LAYERS = (nn.Linear, Conv1D)


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer computes what `nn.Linear` does; a subclass may override its forward pass.

    The `Conv1D` of GPT-2 does, with a transposed weight.
    """
    return isinstance(layer, LINEAR_LAYERS) and has_forward_of(layer, LINEAR_LAYERS)


def is_convolution(layer: nn.Module) -> bool:
    """Whether a layer computes what a convolution of torch does; transposed ones are not meant."""
    return (
        isinstance(layer, CONVOLUTIONS)
        and has_forward_of(layer, CONVOLUTIONS)
        and "_conv_forward" not in vars(layer)
        and any(type(layer)._conv_forward is kind._conv_forward for kind in CONVOLUTIONS)
    )


def has_forward_of(layer: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether a layer has the forward pass of one of these classes, from which it derives."""
    return "forward" not in vars(layer) and any(
        isinstance(layer, kind) and type(layer).forward is kind.forward for kind in kinds
    )


def has_transposed_weight(layer: nn.Module) -> bool:
    """Whether the weight of a linear layer is [i o] of inputs x outputs instead of [o i]."""
    return isinstance(layer, Conv1D)


def has_factors(layer: nn.Module, inputs: Tensor) -> bool:
    """Whether the gradients of a call are sums of outer products, one for each position."""
    if isinstance(layer, CONVOLUTIONS):
        return is_convolution(layer) and inputs.dim() == 2 + len(layer.kernel_size)
    return is_linear(layer) and inputs.dim() > 1


def count_groups(layer: nn.Module) -> int:
    """Count the groups of channels, which are layers of their own."""
    return layer.groups if isinstance(layer, CONVOLUTIONS) else 1


def flatten_positions(inputs: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten all positions of a linear layer's input and output gradient to one axis: [b t d]."""
    return (
        inputs.reshape(len(inputs), -1, inputs.shape[-1]),
        delta.reshape(len(delta), -1, delta.shape[-1]),
    )


def read_inputs(layer: nn.Module, inputs: Tensor) -> Float[Tensor, "g b t i"]:
    """Return the inputs of every group, example and position; those of a convolution are patches.

    The entries of a patch have the order of the weight's.
    """
    if not isinstance(layer, CONVOLUTIONS):
        return flatten_positions(inputs, inputs)[0][None]
    axes = len(layer.kernel_size)
    patches = _pad(layer, inputs)
    steps = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    for axis, (size, stride, dilation) in enumerate(steps):
        patches = patches.unfold(2 + axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    patches = patches.unflatten(1, (layer.groups, -1))
    spatial = range(3, 3 + axes)
    patches = patches.permute(1, 0, *spatial, 2, *(axis + axes for axis in spatial))
    return patches.flatten(2 + axes).flatten(2, 1 + axes)


def read_deltas(layer: nn.Module, delta: Tensor) -> Float[Tensor, "g b t o"]:
    """Return the output gradients of every group, example and position."""
    if not isinstance(layer, CONVOLUTIONS):
        return flatten_positions(delta, delta)[1][None]
    return delta.flatten(2).unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2)


def count_positions(layer: nn.Module, outputs: Tensor) -> int:
    """Count the positions of an example at which a layer multiplies with its weight."""
    shape = outputs.shape[2:] if isinstance(layer, CONVOLUTIONS) else outputs.shape[1:-1]
    return shape.numel()


def get_widths(layer: nn.Module) -> tuple[int, int]:
    """Return the numbers of inputs and outputs of the weight of one group."""
    weight: Tensor = getattr(layer, "weight")  # noqa: B009
    outputs, inputs = len(weight) // count_groups(layer), weight[0].numel()
    return (outputs, inputs) if has_transposed_weight(layer) else (inputs, outputs)


def _pad(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, inputs: Tensor) -> Tensor:
    """Pad the input as the layer does."""
    if layer.padding == "valid":
        return inputs
    amounts: list[int] = []
    for axis in reversed(range(len(layer.kernel_size))):  # the last axis comes first
        if layer.padding == "same":
            total = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            amounts += [total // 2, total - total // 2]
        else:
            amounts += 2 * [int(layer.padding[axis])]
    if not any(amounts):
        return inputs
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(inputs, amounts, mode)
