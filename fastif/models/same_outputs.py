"""Outputs that are the same but for rounding, and the module by which two runs differ."""

from collections.abc import Callable, Iterable
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool
from torch import Tensor

from fastif.models.nondeterministic_module import Trace, find_differing_module
from fastif.models.objective import Objective
from fastif.numerics.arithmetic import matmul_eps

ROW_ULPS = 300.0
"""Units in the last place, of the outputs of a row, that are rounding."""
MIN_RELATIVE_SIZE = 0.1
"""Outputs of a row count as large as this part of those of the middle row, at least."""

ForwardFn = Callable[[], Tensor]

_coarsest_dtypes: "WeakKeyDictionary[Objective, torch.dtype]" = WeakKeyDictionary()


def locate_difference(
    objective: Objective,
    first: ForwardFn,
    second: ForwardFn,
    places: Tensor | None = None,
    count: int = 0,
) -> str:
    """The module by which two runs differ; the second may be of some rows of the first."""
    first_trace, second_trace = Trace(), Trace()
    with first_trace.record(objective.module):
        first()
    with second_trace.record(objective.module):
        second()

    def agree(left: Tensor, right: Tensor) -> bool:
        if places is not None and left.dim() and len(left) == count:
            left = left[places.to(left.device)]
        if left.shape != right.shape or not left.is_floating_point():
            return left.shape != right.shape or torch.equal(left, right)
        return bool(make_rounding_test(left, objective)(right, left).all())

    return (
        find_differing_module(first_trace, second_trace, agree) or type(objective.module).__name__
    )


def make_rounding_test(
    like: Tensor, objective: Objective, units: float = ROW_ULPS, least: float = MIN_RELATIVE_SIZE
) -> Callable[[Tensor, Tensor], Bool[Tensor, " b"]]:
    """Row by row, whether outputs are the same but for rounding.

    That is the rounding of whatever was computed on the way: some models take a softmax or a norm
    in single precision where weights and outputs are double.
    """
    recorded = _coarsest_dtypes.get(objective, like.dtype)
    coarsest = max(like.dtype, objective.like.dtype, recorded, key=_eps)
    tolerance = min(units * matmul_eps(like.new_empty(0, dtype=coarsest)), 0.05)

    def compare_rows(outputs: Tensor, expected: Tensor) -> Bool[Tensor, " b"]:
        outputs, expected = outputs.reshape(len(outputs), -1), expected.reshape(len(expected), -1)
        finite = torch.isfinite(expected)
        sizes = (
            expected.abs().masked_fill(~finite, 0).amax(1) if expected.numel() else outputs.sum(1)
        )
        sizes = torch.maximum(sizes, least * sizes.median()) if len(sizes) else sizes
        is_close = (outputs - expected).abs() <= tolerance * sizes[:, None]
        return torch.where(finite, is_close, ~torch.isfinite(outputs)).all(1)

    return compare_rows


def record_dtypes(objective: Objective, dtypes: Iterable[torch.dtype]) -> None:
    """Note the floating types in which something is computed on the way to outputs."""
    _coarsest_dtypes[objective] = max(dtypes, key=_eps, default=objective.like.dtype)


def _eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def max_difference(outputs: Tensor, expected: Tensor) -> float:
    """The largest difference."""
    return float((outputs - expected).abs().nan_to_num(0.0).max())
