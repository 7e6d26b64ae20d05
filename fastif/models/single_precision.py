"""Precision of a model's weights, and allowed differences between equivalent computations."""

import copy

import torch
from torch import Tensor
from transformers import PreTrainedModel

from fastif.errors import InputError
from fastif.models.objective import frozen_copy

HALF = (torch.float16, torch.bfloat16)
SUPPORTED = (torch.float32, torch.float64)
OUTPUT_ULPS = 300
"""Allowed difference in units in the last place, relative to the largest output."""


def make_single_precision_copy(
    model: PreTrainedModel, half: bool
) -> tuple[PreTrainedModel, str | None]:
    """Return a frozen copy that shares the weights, or has them converted to single precision.

    Weights of half precision, and of several precisions, become the widest of them, and single at
    least.

    Args:
        model: Model to copy, which stays unchanged.
        half: Whether weights of half precision stay as they are.

    Returns:
        The copy, and a note on what was converted, if anything.

    Raises:
        InputError: If weights have a type without gradients.
    """
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    saved = getattr(model, "saved_dtypes", ())
    unsupported = dtypes.difference(HALF, SUPPORTED)
    if unsupported or not dtypes:
        raise InputError(
            f"model {model.config._name_or_path or type(model).__name__}",
            "weights of 16, 32 or 64 bits",
            ", ".join(sorted(map(_format_dtype, unsupported))) or "no weights of floating point",
            "Load it without quantisation.",
        )
    target = torch.float64 if torch.float64 in dtypes else torch.float32
    if half and len(dtypes) == 1:
        target = next(iter(dtypes))
    if dtypes != {target}:
        model = copy.deepcopy(model).to(target)  # type: ignore[call-overload]
    changed = dtypes.union(saved).difference({target}) and (saved or dtypes)
    note = f"weights of {' and '.join(sorted(map(_format_dtype, changed)))} are converted to "
    notes = [getattr(model, "quantisation_note", ""), changed and note + _format_dtype(target)]
    return _detach_weights(frozen_copy(model)), "; ".join(filter(None, notes)) or None


def is_within_rounding(outputs: Tensor, expected: Tensor) -> bool:
    """Whether two computations of the outputs agree up to rounding.

    Examples:
        >>> is_within_rounding(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.00001]))
        True
        >>> is_within_rounding(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.001]))
        False
    """
    # Models round to single precision inside (a softmax, a router) for any type of
    # their weights.
    unit = max(torch.finfo(expected.dtype).eps, torch.finfo(torch.float32).eps)
    return relative_difference(outputs, expected) <= min(OUTPUT_ULPS * unit, 0.05)


def relative_difference(outputs: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest output; infinite if shapes differ.

    Rows that overflow in both outputs are left out.
    """
    if outputs.shape != expected.shape:
        return float("inf")
    finite = torch.isfinite(expected).reshape(len(expected), -1).all(1)
    if not torch.equal(finite, torch.isfinite(outputs).reshape(len(outputs), -1).all(1)):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    largest = float(expected[finite].abs().max())
    return float((outputs - expected)[finite].abs().max()) / (largest or 1.0)


def _detach_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Detach all weights, which stay shared and tied, from autograd."""
    detached: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                fresh = torch.nn.Parameter(weight.detach(), requires_grad=False)
                module._parameters[name] = detached.setdefault(id(weight), fresh)
    return model


def _format_dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
