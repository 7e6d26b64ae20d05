"""The attributed parameters, as names on one side and as one long row on the other."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fastif.errors import InputError

Params = Mapping[str, Tensor]


@dataclass(frozen=True)
class ParamSpace:
    """The order in which named parameters stand in a row of p numbers.

    Solvers and scoring know rows only; names exist at the edge.

    >>> space = ParamSpace.from_params({"w": torch.zeros(2, 3), "b": torch.zeros(2)})
    >>> space.size, space.slices
    (8, (slice(0, 6, None), slice(6, 8, None)))
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def from_params(cls, params: Params) -> "ParamSpace":
        """The space of these tensors, in their order."""
        return cls(tuple(params), tuple(tuple(tensor.shape) for tensor in params.values()))

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where each parameter stands in a row."""
        stops = torch.tensor([0, *(torch.Size(shape).numel() for shape in self.shapes)]).cumsum(0)
        return tuple(slice(int(a), int(b)) for a, b in pairwise(stops))

    @property
    def size(self) -> int:
        """The number p of attributed parameters."""
        return self.slices[-1].stop if self.names else 0

    def select_slices(self, names: Iterable[str]) -> tuple[slice, ...]:
        """Where these parameters stand in a row, in the order of `names`."""
        slices_by_name = dict(zip(self.names, self.slices, strict=True))
        return tuple(slices_by_name[name] for name in names)

    def flatten(self, params: Params) -> Float[Tensor, " p"]:
        """One row from named tensors."""
        return torch.cat([params[name].reshape(-1) for name in self.names])

    def unflatten(self, row: Float[Tensor, " p"]) -> dict[str, Tensor]:
        """Named tensors (views) from one row."""
        return {
            name: row[where].view(shape)
            for name, where, shape in zip(self.names, self.slices, self.shapes, strict=True)
        }


def make_leaf_params(params: Params) -> dict[str, Tensor]:
    """The same values, as leaves to differentiate at."""
    return {name: tensor.detach().requires_grad_() for name, tensor in params.items()}


def match_names(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names in which at least one regular expression is found.

    Raises:
        InputError: a pattern matches nothing, so it is a typing mistake, or is no pattern.
    """
    names = list(names)
    patterns = [patterns] if isinstance(patterns, str) else patterns
    for pattern in patterns:
        _check_pattern(pattern)
        if not any(re.search(pattern, name) for name in names):
            suggestions = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or names[-3:]
            raise InputError(
                "attributed parameters",
                "every pattern to match a parameter",
                f"no match for {pattern!r} among {len(names)} names",
                f"Correct the pattern; there are, for instance, {', '.join(suggestions)}.",
            )
    return [name for name in names if any(re.search(pattern, name) for pattern in patterns)]


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise InputError(
            "attributed parameters",
            "regular expressions",
            f"{pattern!r} ({error})",
            "Write a literal bracket, dot or star with a backslash before it.",
        ) from error


def check_finite(module: nn.Module, where: str) -> None:
    """Refuse a model with NaN or infinite weights, or whose weights are no numbers to compute with.

    Raises:
        InputError: naming the first such parameter.
    """
    for name, tensor in module.named_parameters():
        defect = _find_defect(tensor)
        if defect:
            raise InputError(
                where,
                "weights of 16, 32 or 64 bits, in memory",
                f"{name} {defect}",
                "Load or run the model as for training, then give it again.",
            )
        if not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                where,
                "finite weights",
                f"{bad} NaN or infinite values in {name}",
                "Take an earlier checkpoint or train again with a smaller learning rate.",
            )


def _find_defect(tensor: Tensor) -> str:
    """Why nothing can be computed with a parameter; empty if it can."""
    if nn.parameter.is_lazy(tensor):
        return "has no shape before the first forward pass"
    if tensor.is_meta and type(tensor.data) is Tensor:  # a subclass may hold values of its own
        return "is on the meta device, without values"
    if tensor.is_inference():
        return "was made in inference mode, without gradients"
    if tensor.is_floating_point() and tensor.dtype.itemsize < 2:
        return f"of type {str(tensor.dtype).removeprefix('torch.')}"
    return ""


def check_floating(params: Params, where: str) -> None:
    """Refuse parameters that have no gradient.

    Raises:
        InputError: some are of whole numbers.
    """
    integer_names = [name for name, tensor in params.items() if not tensor.is_floating_point()]
    if integer_names:
        raise InputError(
            where,
            "attributed parameters of floating point",
            f"{len(integer_names)} of whole numbers, such as {integer_names[0]}",
            "Load it without quantisation, or attribute other parameters.",
        )
