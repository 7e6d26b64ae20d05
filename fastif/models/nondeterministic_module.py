"""Which module makes two runs of a model differ."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Agree = Callable[[Tensor, Tensor], bool]


@dataclass(frozen=True, eq=False)
class Seen:
    """One call of a module.

    Attributes:
        name, kind: of the module.
        inputs, outputs: all tensors in what it was given and gave.
    """

    name: str
    kind: str
    inputs: list[Tensor]
    outputs: list[Tensor]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else self.kind


@dataclass
class Trace:
    """The calls of all modules in the order they ended, so that inner ones come first."""

    calls: list[Seen] = field(default_factory=list)

    @contextmanager
    def of(self, module: nn.Module) -> Iterator["Trace"]:
        """Note what is called while this is entered."""
        handles = []
        for name, layer in module.named_modules():

            def note(
                layer: nn.Module, args: tuple, kwargs: dict, output: object, name: str = name
            ) -> None:
                given, made = _tensors((args, kwargs)), _tensors(output)
                self.calls.append(Seen(name, type(layer).__name__, given, made))

            handles.append(layer.register_forward_hook(note, with_kwargs=True))
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()


def culprit(first: Trace, second: Trace, agree: Agree) -> str:
    """The innermost module that was given the same and gave something else; empty if none is seen.

    Args:
        first: of one run.
        second: of the other.
        agree: whether a tensor of the first and of the second run are the same but for rounding.
    """
    for one, other in zip(first.calls, second.calls, strict=False):
        if one.name != other.name:
            return ""
        if _same(one.inputs, other.inputs, agree) and not _same(one.outputs, other.outputs, agree):
            return str(one)
    return ""


def _same(first: list[Tensor], second: list[Tensor], agree: Agree) -> bool:
    return len(first) == len(second) and all(map(agree, first, second))


def _tensors(given: object) -> list[Tensor]:
    """All tensors in something, as they are now."""
    if isinstance(given, Tensor):
        return [given.detach().clone()]
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, tuple | list):
        return [tensor for part in given for tensor in _tensors(part)]
    return []


@torch.no_grad()
def in_half_precision(trace: Trace) -> str:
    """The innermost module that gave numbers of half precision; empty if none did."""
    half = (torch.float16, torch.bfloat16)
    return next((str(c) for c in trace.calls if any(t.dtype in half for t in c.outputs)), "")
