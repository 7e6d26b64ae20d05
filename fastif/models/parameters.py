"""Attributed parameters by name, and as one vector of length p."""

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
    """Layout of named parameters in a vector of p numbers.

    Solvers and scoring use vectors only; names exist at the interfaces.

    Attributes:
        names: Full names of the parameters, in order.
        shapes: Shapes of the parameters, in order.

    Examples:
        >>> space = ParamSpace.from_params({"w": torch.zeros(2, 3), "b": torch.zeros(2)})
        >>> space.size, space.slices
        (8, (slice(0, 6, None), slice(6, 8, None)))
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def from_params(cls, params: Params) -> "ParamSpace":
        """Return the layout of these tensors, in their order."""
        return cls(tuple(params), tuple(tuple(tensor.shape) for tensor in params.values()))

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Coordinates of each parameter in a vector."""
        stops = torch.tensor([0, *(torch.Size(shape).numel() for shape in self.shapes)]).cumsum(0)
        return tuple(slice(int(a), int(b)) for a, b in pairwise(stops))

    @property
    def size(self) -> int:
        """Number p of attributed parameters."""
        return self.slices[-1].stop if self.names else 0

    def select_slices(self, names: Iterable[str]) -> tuple[slice, ...]:
        """Return the coordinates of these parameters in a vector, in the order of `names`."""
        slices_by_name = dict(zip(self.names, self.slices, strict=True))
        return tuple(slices_by_name[name] for name in names)

    def flatten(self, params: Params) -> Float[Tensor, " p"]:
        """Return named tensors as one vector."""
        return torch.cat([params[name].reshape(-1) for name in self.names])

    def unflatten(self, row: Float[Tensor, " p"]) -> dict[str, Tensor]:
        """Return one vector as named tensors, which are views."""
        return {
            name: row[where].view(shape)
            for name, where, shape in zip(self.names, self.slices, self.shapes, strict=True)
        }


def make_leaf_params(params: Params) -> dict[str, Tensor]:
    """Return detached tensors of equal values, as leaves that require gradients."""
    return {name: tensor.detach().requires_grad_() for name, tensor in params.items()}


def match_names(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the names that match at least one regular expression.

    Raises:
        InputError: If a pattern matches nothing or is no regular expression.
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
    """Refuse a model with NaN or infinite weights, or with weights without a usable type.

    Raises:
        InputError: With the name of the first such parameter.
    """
    for name, tensor in module.named_parameters():
        defect = _find_defect(tensor)
        if defect:
            raise InputError(
                where,
                "weights of 16, 32 or 64 bits, in memory",
                f"{name} {defect}",
                "Load or run the model as for training, then try again.",
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
    """Return why a parameter cannot be used; empty if it can."""
    if nn.parameter.is_lazy(tensor):
        return "has no shape before the first forward pass"
    if tensor.is_meta and type(tensor.data) is Tensor:  # a subclass may hold additional values
        return "is on the meta device, without values"
    if tensor.is_inference():
        return "was made in inference mode, without gradients"
    if tensor.is_floating_point() and tensor.dtype.itemsize < 2:
        return f"of type {str(tensor.dtype).removeprefix('torch.')}"
    return ""


def detach_params(layer: nn.Module) -> Params:
    """Return the parameters of a layer without their graph, as they are now."""
    return {name: tensor.detach() for name, tensor in layer.named_parameters()}


def check_floating(params: Params, where: str) -> None:
    """Refuse parameters without gradients.

    Raises:
        InputError: If some are integers.
    """
    integer_names = [name for name, tensor in params.items() if not tensor.is_floating_point()]
    if integer_names:
        raise InputError(
            where,
            "attributed parameters of floating point",
            f"{len(integer_names)} of whole numbers, such as {integer_names[0]}",
            "Load the model without quantisation, or attribute other parameters.",
        )
