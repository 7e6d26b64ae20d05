"""Calls of a model's modules in the order of execution, with their arguments and outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.func import functional_call

from fastif.models.parameters import Params


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """One call of a module.

    Attributes:
        name: Full name of the module.
        start, stop: Positions of its begin and its end among those of all calls.
        argument: First argument; None if it is no tensor.
        output: Return value.
    """

    name: str
    start: int
    stop: int
    argument: Tensor | None
    output: object


def record_calls(
    model: nn.Module, inputs: Mapping[str, Tensor], params: Params | None = None
) -> list[ModuleCall]:
    """Run a model and return the calls of all modules inside of it, in the order of their begin.

    Args:
        model: Model to run.
        inputs: Keyword arguments of the model.
        params: Values of parameters in place of the model's own.
    """
    calls: list[ModuleCall] = []
    clock, begun, handles = [0], [], []

    def tick() -> int:
        clock[0] += 1
        return clock[0]

    def begin(module: nn.Module, args: tuple, kwargs: dict) -> None:
        begun.append((tick(), get_argument(args, kwargs)))

    def make_end(name: str):
        def end(module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
            start, argument = begun.pop()
            calls.append(ModuleCall(name, start, tick(), argument, output))

        return end

    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(begin, with_kwargs=True))
            handles.append(module.register_forward_hook(make_end(name), with_kwargs=True))
    try:
        functional_call(model, dict(params or {}), (), dict(inputs))
    finally:
        for handle in handles:
            handle.remove()
    return sorted(calls, key=lambda call: call.start)


def get_argument(args: Sequence[object], kwargs: Mapping[str, object]) -> Tensor | None:
    """Return the first argument of a call if it is a tensor."""
    first = args[0] if args else next(iter(kwargs.values()), None)
    return first if isinstance(first, Tensor) else None


def find_owner_call(calls: Mapping[str, ModuleCall], parameter: str) -> ModuleCall | None:
    """Return the call of the innermost module around a parameter that was called; None if none."""
    name = parameter
    while name:
        name = name.rpartition(".")[0]
        if name in calls:
            return calls[name]
    return None
