"""Search for the module at which two runs of a model diverge."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

TensorsAgree = Callable[[Tensor, Tensor], bool]


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """One call of a module.

    Attributes:
        name, kind: Full name and class of the module.
        inputs, outputs: All tensors among the arguments and in the return value.
    """

    name: str
    kind: str
    inputs: list[Tensor]
    outputs: list[Tensor]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else self.kind


@dataclass
class Trace:
    """Calls of all modules in the order in which they ended, so that inner ones come first."""

    calls: list[ModuleCall] = field(default_factory=list)

    @contextmanager
    def record(self, module: nn.Module) -> Iterator["Trace"]:
        """Context manager that records all calls."""
        handles = []
        for name, layer in module.named_modules():

            def note(
                layer: nn.Module, args: tuple, kwargs: dict, output: object, name: str = name
            ) -> None:
                inputs, outputs = _collect_tensors((args, kwargs)), _collect_tensors(output)
                self.calls.append(ModuleCall(name, type(layer).__name__, inputs, outputs))

            handles.append(layer.register_forward_hook(note, with_kwargs=True))
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()


def find_differing_module(first: Trace, second: Trace, agree: TensorsAgree) -> str:
    """Return the innermost module with equal inputs and different outputs; empty if none.

    Args:
        first: Trace of one run.
        second: Trace of the other run.
        agree: Function that compares a tensor of the first run with one of the second.
    """
    for first_call, second_call in zip(first.calls, second.calls, strict=False):
        if first_call.name != second_call.name:
            return ""
        if _all_agree(first_call.inputs, second_call.inputs, agree) and not _all_agree(
            first_call.outputs, second_call.outputs, agree
        ):
            return str(first_call)
    return ""


def _all_agree(first: list[Tensor], second: list[Tensor], agree: TensorsAgree) -> bool:
    return len(first) == len(second) and all(map(agree, first, second))


def _collect_tensors(value: object) -> list[Tensor]:
    """Return copies of all tensors in a nested value."""
    if isinstance(value, Tensor):
        return [value.detach().clone()]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in _collect_tensors(item)]
    return []


@torch.no_grad()
def find_half_precision_module(trace: Trace) -> str:
    """Return the innermost module with half-precision outputs; empty if there is none."""
    half = (torch.float16, torch.bfloat16)
    return next((str(c) for c in trace.calls if any(t.dtype in half for t in c.outputs)), "")
