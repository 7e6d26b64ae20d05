"""Per-example gradients of root mean square normalisations, from outputs at other weights."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fastif.numerics.arithmetic import matmul_eps

RELATIVE_TOLERANCE = 1e-5
"""Relative difference from an affine function of the weight that counts as rounding."""


def is_rms_norm(layer: nn.Module) -> bool:
    """Whether a layer is a root mean square normalisation with a weight and nothing else.

    Models of transformers have a class each. `compute_rms_norm_gradients` tests what they compute.

    Examples:
        >>> is_rms_norm(nn.RMSNorm(3)), is_rms_norm(nn.LayerNorm(3))
        (True, False)
    """
    kind = type(layer)
    known = kind is nn.RMSNorm or (
        kind.__module__.startswith("transformers.models.")
        and kind.__name__.endswith(("RMSNorm", "T5LayerNorm"))
    )
    names = [name for name, _ in layer.named_parameters()]
    return known and names == ["weight"] and "forward" not in vars(layer)


def compute_rms_norm_gradients(
    layer: nn.Module, inputs: Tensor, delta: Tensor, outputs: Tensor | None
) -> dict[str, Tensor] | None:
    """Return the gradients of each example in the weight, the sums of δ ⊙ n over positions.

    The normal form n of the inputs is the difference of the outputs at the weights 1 and 0, since
    the outputs are w ⊙ n, or (1 + w) ⊙ n in Gemma. Mapping `vjp` over the examples takes longer.

    Args:
        layer: Layer of which `is_rms_norm` is true.
        inputs: Inputs of the call, one example in each row.
        delta: Gradients at the outputs of the call.
        outputs: Outputs of the call, to compare with; None for no comparison.

    Returns:
        Gradients by name; None if the outputs are no such function of the weight.
    """
    weight = layer.get_parameter("weight").detach()
    if inputs.shape != delta.shape or weight.shape != inputs.shape[-1:] or not weight.numel():
        return None
    probe = torch.linspace(-1.0, 2.0, len(weight), dtype=weight.dtype, device=weight.device)

    def run(values: Tensor) -> Tensor:
        return functional_call(layer, {"weight": values}, (inputs,))

    bases, ones = run(torch.zeros_like(weight)), run(torch.ones_like(weight))
    normal = ones - bases
    pairs = [(probe, run(probe))] + ([] if outputs is None else [(weight, outputs.detach())])
    if not all(_agree(actual, bases + values * normal) for values, actual in pairs):
        return None
    axes = tuple(range(1, delta.dim() - 1))
    products = delta * normal
    return {"weight": products.sum(axes) if axes else products}


def _agree(actual: Tensor, expected: Tensor) -> bool:
    """Whether two outputs agree up to rounding, relative to the largest."""
    if actual.shape != expected.shape:
        return False
    tolerance = max(RELATIVE_TOLERANCE, 4 * matmul_eps(expected))
    scale = float(expected.abs().max())
    return bool((actual - expected).abs().max() <= tolerance * scale)
