"""Comparison of outputs up to rounding, and the module at which two runs differ."""

from collections.abc import Callable, Iterable
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool
from torch import Tensor

from fastif.models.nondeterministic_module import Trace, find_differing_module
from fastif.models.objective import Objective
from fastif.numerics.arithmetic import matmul_eps

ROW_ULPS = 300.0
"""Difference in units in the last place that counts as rounding of a row's outputs."""
MIN_RELATIVE_SIZE = 0.1
"""Smallest size of a row's outputs for the comparison, relative to the median row."""

ForwardFn = Callable[[], Tensor]

_coarsest_dtypes: "WeakKeyDictionary[Objective, torch.dtype]" = WeakKeyDictionary()


def locate_difference(
    objective: Objective,
    first: ForwardFn,
    second: ForwardFn,
    places: Tensor | None = None,
    count: int = 0,
) -> str:
    """Return the name of the module at which two runs differ.

    Args:
        objective: Model of both runs.
        first: Function that runs all rows.
        second: Function that runs these rows, or those at `places`.
        places: Positions of the second run's rows in the first; all if omitted.
        count: Number of rows in the first run.
    """
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
    """Return a function that compares outputs up to rounding, row by row.

    The tolerance is the rounding error of the coarsest type in the computation: some models compute
    a softmax or a norm in single precision while weights and outputs are double.

    Args:
        like: Tensor with the type of the outputs.
        objective: Model of the outputs.
        units: Allowed difference in units in the last place.
        least: Smallest size of a row's outputs, relative to the median row.
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
    """Record the floating-point types in which a model computes its outputs."""
    _coarsest_dtypes[objective] = max(dtypes, key=_eps, default=objective.like.dtype)


def _eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def max_difference(outputs: Tensor, expected: Tensor) -> float:
    """Return the largest absolute difference."""
    return float((outputs - expected).abs().nan_to_num(0.0).max())
