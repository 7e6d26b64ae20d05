"""Conversion of lists and arrays to tensors and positions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fastif.errors import InputError

Ids = Any
"""Positions of examples: a tensor, an array or a list of whole numbers; see `as_ids`."""


def as_ids(ids: object, count: int, where: str = "ids") -> Int[Tensor, " m"]:
    """Convert positions, given as a list, range, array or tensor, to a tensor.

    Raises:
        InputError: The positions are not whole numbers from 0 to `count` - 1.
    """
    positions = _tensor(ids, where) if not isinstance(ids, Tensor) else ids
    if positions.numel() == 0:
        return torch.empty(0, dtype=torch.long)
    is_integer = not (
        positions.is_floating_point() or positions.is_complex() or positions.dtype == torch.bool
    )
    if not is_integer or positions.dim() != 1:
        got = f"{positions.dtype} of shape {tuple(positions.shape)}"
        remedy = "Give a list of positions; for a mask, mask.nonzero()[:, 0]."
        raise InputError(where, "whole numbers, one for each example", got, remedy)
    positions = positions.long()
    outside = (positions < 0) | (positions >= count)
    if bool(outside.any()):
        first = positions[outside][:3].tolist()
        raise InputError(
            where,
            f"positions from 0 to {count - 1}",
            ", ".join(map(str, first)),
            "Positions are counted from 0 in the order of the examples.",
        )
    return positions


def as_tensor(values: object, where: str) -> Tensor:
    """Convert numbers, given as a list or an array, to a dense tensor.

    Raises:
        InputError: The values are not numbers, or rows of unequal length.
    """
    tensor = values if isinstance(values, Tensor) else _tensor(values, where)
    if tensor.dim() and tensor.layout == torch.strided and not tensor.is_meta:
        return tensor
    kind = "a single number" if not tensor.dim() else f"{tensor.layout} on {tensor.device}"
    remedy = "Give a row for each example; for a sparse tensor, tensor.to_dense()."
    raise InputError(where, "a dense tensor with a row for each example", kind, remedy)


def _tensor(values: object, where: str) -> Tensor:
    try:
        if isinstance(values, Sequence | range) and not isinstance(values, str):
            return torch.tensor(list(values))
        return torch.from_numpy(np.ascontiguousarray(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            where,
            "a tensor, an array or a list of numbers",
            f"{format_type_name(values)} ({str(error).splitlines()[0]})",
            "Convert it to a tensor; for rows of unequal length subclass fastif.Examples.",
        ) from error


def format_type_name(value: object) -> str:
    """Full name of the class of a value."""
    kind = value if isinstance(value, type) else type(value)
    module = kind.__module__.removesuffix("._tensor")
    name = getattr(value, "__name__", kind.__qualname__)
    return name if module == "builtins" else f"{module}.{name}"


def check_label_count(inputs: int, labels: int, where: str) -> None:
    """Refuse labels that differ in number from the examples.

    Raises:
        InputError: The numbers differ.
    """
    if inputs == labels:
        return
    rows = f"rows {labels} to {inputs - 1} have no label"
    if labels > inputs:
        rows = f"labels {inputs} to {labels - 1} have no row"
    got = f"{inputs} rows and {labels} labels: {rows}"
    remedy = "Give inputs and labels of the same rows, in the same order."
    raise InputError(where, "a label for each row", got, remedy)


def check_batch_size(size: object) -> None:
    """Refuse a batch size that is not a whole number of 1 or more.

    Raises:
        InputError: The size is invalid.
    """
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        remedy = "Give the number of examples that fit into memory at once, such as 32."
        raise InputError("batch_size", "a whole number of 1 or more", repr(size), remedy)
