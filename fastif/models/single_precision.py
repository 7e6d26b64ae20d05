"""Precision: that of a model's weights, and how far two ways to the same outputs may differ."""

import copy

import torch
from torch import Tensor
from transformers import PreTrainedModel

from fastif.errors import InputError
from fastif.models.objective import frozen_copy

HALF = (torch.float16, torch.bfloat16)
FULL = (torch.float32, torch.float64)
ROUNDING = 300
"""Units in the last place, of the largest output, that two ways to the same outputs may differ."""


def single_copy(model: PreTrainedModel, half: bool) -> tuple[PreTrainedModel, str | None]:
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
    found = {p.dtype for p in model.parameters() if p.is_floating_point()}
    saved = getattr(model, "saved_dtypes", ())
    strange = found.difference(HALF, FULL)
    if strange or not found:
        raise InputError(
            f"model {model.config._name_or_path or type(model).__name__}",
            "weights of 16, 32 or 64 bits",
            ", ".join(sorted(map(_name, strange))) or "no weights of floating point",
            "Load it without quantisation.",
        )
    wanted = torch.float64 if torch.float64 in found else torch.float32
    if half and len(found) == 1:
        wanted = next(iter(found))
    if found != {wanted}:
        model = copy.deepcopy(model).to(wanted)  # type: ignore[call-overload]
    was = found.union(saved).difference({wanted}) and (saved or found)
    note = f"weights of {' and '.join(sorted(map(_name, was)))} are computed with in "
    return _detached(frozen_copy(model)), note + _name(wanted) if was else None


def same_outputs(outputs: Tensor, expected: Tensor) -> bool:
    """Whether two ways to the same outputs agree but for rounding.

    >>> same_outputs(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.00001]))
    True
    >>> same_outputs(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.001]))
    False
    """
    # Models round to single precision inside (a softmax, a router) whatever their weights are.
    unit = max(torch.finfo(expected.dtype).eps, torch.finfo(torch.float32).eps)
    return gap(outputs, expected) <= min(ROUNDING * unit, 0.05)


def gap(outputs: Tensor, expected: Tensor) -> float:
    """The largest difference, as a part of the largest output; infinite where shapes differ.

    A row that overflows in both ways tells nothing.
    """
    if outputs.shape != expected.shape:
        return float("inf")
    sound = torch.isfinite(expected).reshape(len(expected), -1).all(1)
    if not torch.equal(sound, torch.isfinite(outputs).reshape(len(outputs), -1).all(1)):
        return float("inf")
    if not bool(sound.any()):
        return 0.0
    largest = float(expected[sound].abs().max())
    return float((outputs - expected)[sound].abs().max()) / (largest or 1.0)


def _detached(model: PreTrainedModel) -> PreTrainedModel:
    """Its weights shared, and no graph recorded for them; tied weights stay tied."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                fresh = torch.nn.Parameter(weight.detach(), requires_grad=False)
                module._parameters[name] = made.setdefault(id(weight), fresh)
    return model


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
