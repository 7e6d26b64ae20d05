"""Layers that scale a normalised input by one weight, such as RMSNorm, found by their outputs."""

import math
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fastif.models.parameters import Params, detach_params
from fastif.numerics.arithmetic import matmul_eps
from fastif.numerics.deferred_checks import assume_all

OFFSETS = (0.0, 1.0)
"""Numbers that a layer adds to its weight: Gemma's norms multiply with 1 + w."""

ULPS = 4
"""Difference of a product of weight and normalised input that counts as rounding."""

LAYER_ERRORS = (RuntimeError, AttributeError, IndexError, KeyError, TypeError, ValueError)

_offsets: "WeakKeyDictionary[nn.Module, dict[object, float | None]]" = WeakKeyDictionary()


@torch.no_grad()
def compute_scale_gradients(
    layer: nn.Module,
    inputs: Tensor,
    delta: Tensor,
    outputs: Tensor | None,
    params: Params | None = None,
) -> dict[str, Tensor] | None:
    """Return ∇w = Σ_t δ_t n(x_t) of a layer (w + c) n(x); None for layers of another kind.

    The layer itself gives n(x), its output with w = 1 - c. That its outputs are of this form, with
    rows that do not depend on others, is tried once on random weights, for all rows alone.

    Args:
        layer: Layer with one parameter, along the last axes of its input.
        inputs: Inputs of a call, one example in each row.
        delta: Gradients at the outputs of the call.
        outputs: Outputs of the call, which must be of this form too; None to leave this out.
        params: Parameters of the layer in the call; the layer's own by default.
    """
    name, weight = _get_weight(params or detach_params(layer), inputs, delta)
    if weight is None:
        return None
    kinds = _offsets.setdefault(layer, {})
    key = (inputs.dtype, inputs.device, weight.dtype, layer.training)
    if key not in kinds:
        kinds[key] = _find_offset(layer, name, weight, inputs)
    offset = kinds[key]
    if offset is None:
        return None
    normal = functional_call(layer, {name: torch.full_like(weight, 1 - offset)}, (inputs,))
    if outputs is not None and not assume_all(_compare((weight + offset) * normal, outputs)):
        return None
    gradients = delta * normal
    axes = tuple(range(1, gradients.dim() - weight.dim()))
    return {name: gradients.sum(axes) if axes else gradients}


def _get_weight(params: Params, inputs: Tensor, delta: Tensor) -> tuple[str, Tensor | None]:
    """Return the only parameter of a layer and its name, if its shape is that of the last axes."""
    if len(params) != 1 or inputs.shape != delta.shape:
        return "", None
    name, weight = next(iter(params.items()))
    axes = weight.dim()
    fits = 0 < axes < inputs.dim() and inputs.shape[-axes:] == weight.shape
    return name, weight if fits and "." not in name else None


def _find_offset(layer: nn.Module, name: str, weight: Tensor, inputs: Tensor) -> float | None:
    """Return c of a layer (w + c) n(x), found by its outputs; None if it is not of this form."""
    generator = torch.Generator().manual_seed(0)
    drawn = (0.5 + torch.rand(weight.shape, generator=generator)).to(weight)

    def apply(values: Tensor, rows: Tensor) -> Tensor:
        return functional_call(layer, {name: values}, (rows,))

    try:
        alone = vmap(lambda row: apply(drawn, row[None])[0])(inputs)
        for offset in OFFSETS:
            normal = apply(torch.full_like(weight, 1 - offset), inputs)
            zeros = apply(torch.full_like(weight, -offset), inputs)
            agrees = _compare((drawn + offset) * normal, alone).all()
            if bool((zeros == 0).all() & agrees):  # read at once: it decides between two forms
                return offset
    except LAYER_ERRORS:
        return None
    return None


def _compare(values: Tensor, expected: Tensor) -> Bool[Tensor, "*x"]:
    """Mask of the entries of two outputs that agree up to rounding; one False for other shapes."""
    if values.shape != expected.shape:
        return torch.zeros((), dtype=torch.bool, device=expected.device)
    eps = max(map(matmul_eps, (values, expected)))
    eps = max(eps, torch.finfo(torch.float32).eps)  # norms in single precision within double
    return torch.isclose(
        values.to(expected.dtype), expected, rtol=ULPS * eps, atol=math.ulp(0.0), equal_nan=True
    )
