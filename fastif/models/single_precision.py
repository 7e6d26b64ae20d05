"""Precision: that of a model's weights, and how far two ways to the same outputs may differ."""

import copy

import torch
from torch import Tensor
from transformers import PreTrainedModel

from fastif.errors import InputError
from fastif.models.objective import frozen_copy

HALF = (torch.float16, torch.bfloat16)
SUPPORTED = (torch.float32, torch.float64)
OUTPUT_ULPS = 300
"""Units in the last place, of the largest output, that two ways to the same outputs may differ."""


def make_single_precision_copy(
    model: PreTrainedModel, half: bool
) -> tuple[PreTrainedModel, str | None]:
    """A copy for computing, frozen, that shares the weights unless their type has to change.

    Weights of half precision, and of several precisions, become the widest of them, and single at
    least.

    Args:
        model: the caller's, which stays as it is.
        half: leave weights of half precision as they are.

    Returns:
        The copy, and what was changed.

    Raises:
        InputError: weights are of a type that no gradient can be taken in.
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
    note = f"weights of {' and '.join(sorted(map(_format_dtype, changed)))} are computed with in "
    return _detach_weights(frozen_copy(model)), note + _format_dtype(target) if changed else None


def is_within_rounding(outputs: Tensor, expected: Tensor) -> bool:
    """Whether two ways to the same outputs agree but for rounding.

    >>> is_within_rounding(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.00001]))
    True
    >>> is_within_rounding(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.001]))
    False
    """
    # Models round to single precision inside (a softmax, a router) whatever their weights are.
    unit = max(torch.finfo(expected.dtype).eps, torch.finfo(torch.float32).eps)
    return relative_difference(outputs, expected) <= min(OUTPUT_ULPS * unit, 0.05)


def relative_difference(outputs: Tensor, expected: Tensor) -> float:
    """The largest difference, as a part of the largest output; infinite where shapes differ.

    A row that overflows in both ways tells nothing.
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
    """Its weights shared, and no graph recorded for them; tied weights stay tied."""
    detached: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                fresh = torch.nn.Parameter(weight.detach(), requires_grad=False)
                module._parameters[name] = detached.setdefault(id(weight), fresh)
    return model


def _format_dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
