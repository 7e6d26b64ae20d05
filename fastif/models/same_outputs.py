"""Outputs that are the same but for rounding, and the module by which two runs differ."""

from collections.abc import Callable, Iterable
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool
from torch import Tensor

from fastif.models.nondeterministic_module import Trace, culprit
from fastif.models.objective import Objective
from fastif.numerics.arithmetic import rounding_of

UNITS = 300.0
"""Units in the last place, of the outputs of a row, that are rounding."""
LEAST = 0.1
"""Outputs of a row count as large as this part of those of the middle row, at least."""

Run = Callable[[], Tensor]

_coarsest: "WeakKeyDictionary[Objective, torch.dtype]" = WeakKeyDictionary()


def blame(
    objective: Objective,
    first: Run,
    second: Run,
    places: Tensor | None = None,
    count: int = 0,
) -> str:
    """The module by which two runs differ; the second may be of some rows of the first."""
    one, other = Trace(), Trace()
    with one.of(objective.module):
        first()
    with other.of(objective.module):
        second()

    def agree(left: Tensor, right: Tensor) -> bool:
        if places is not None and left.dim() and len(left) == count:
            left = left[places.to(left.device)]
        if left.shape != right.shape or not left.is_floating_point():
            return left.shape != right.shape or torch.equal(left, right)
        return bool(alike(left, objective)(right, left).all())

    return culprit(one, other, agree) or type(objective.module).__name__


def alike(
    like: Tensor, objective: Objective, units: float = UNITS, least: float = LEAST
) -> Callable[[Tensor, Tensor], Bool[Tensor, " b"]]:
    """Row by row, whether outputs are the same but for rounding.

    That is the rounding of whatever was computed on the way: some models take a softmax or a norm
    in single precision where weights and outputs are double.
    """
    known = _coarsest.get(objective, like.dtype)
    coarsest = max(like.dtype, objective.like.dtype, known, key=_eps)
    most = min(units * rounding_of(like.new_empty(0, dtype=coarsest)), 0.05)

    def compare(found: Tensor, expected: Tensor) -> Bool[Tensor, " b"]:
        found, expected = found.reshape(len(found), -1), expected.reshape(len(expected), -1)
        sound = torch.isfinite(expected)
        sizes = expected.abs().masked_fill(~sound, 0).amax(1) if expected.numel() else found.sum(1)
        sizes = torch.maximum(sizes, least * sizes.median()) if len(sizes) else sizes
        near = (found - expected).abs() <= most * sizes[:, None]
        return torch.where(sound, near, ~torch.isfinite(found)).all(1)

    return compare


def computed_in(objective: Objective, dtypes: Iterable[torch.dtype]) -> None:
    """Note the floating types in which something is computed on the way to outputs."""
    _coarsest[objective] = max(dtypes, key=_eps, default=objective.like.dtype)


def _eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def gap(found: Tensor, expected: Tensor) -> float:
    """The largest difference."""
    return float((found - expected).abs().nan_to_num(0.0).max())
