"""Calls of a model's layers, recorded in a trial run: their arguments and outputs in order.

Calls are captured at `forward` itself, because some models call it without the module's hooks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from fastif.models.layer_split import Layer


@dataclass(frozen=True, eq=False)
class RecordedCall:
    """One call of a layer.

    Attributes:
        name: Full name of the module that was called.
        repetition: Number of its earlier calls in the same pass.
        arguments: Tensors among the arguments.
        output: Return value.
    """

    name: str
    repetition: int
    arguments: list[Tensor]
    output: object

    @property
    def leaves(self) -> list[object]:
        """Entries of the output, in nested order."""
        return pytree.tree_leaves(self.output)


Observer = Callable[[RecordedCall], None]


def record_calls(
    model: nn.Module, names: Sequence[str], run: Callable[[], object]
) -> list[RecordedCall]:
    """Return all calls of the named modules during `run`, in the order in which they ended."""
    calls: list[RecordedCall] = []
    with observe_calls(model, names, calls.append):
        run()
    return calls


@contextmanager
def observe_calls(model: nn.Module, names: Sequence[str], observe: Observer) -> Iterator[None]:
    """Context manager in which `observe` receives every call of the named modules."""
    modules = [model.get_submodule(name) for name in names]
    previous = [vars(module).get("forward") for module in modules]
    for name, module in zip(names, modules, strict=True):
        vars(module)["forward"] = _make_observed(name, module.forward, observe)
    try:
        yield
    finally:
        for module, forward in zip(modules, previous, strict=True):
            vars(module).pop("forward")
            if forward is not None:
                vars(module)["forward"] = forward


def _make_observed(name: str, forward: Callable, observe: Observer) -> Callable:
    repetition = 0

    @wraps(forward)
    def call(*args: object, **kwargs: object) -> object:
        nonlocal repetition
        output = forward(*args, **kwargs)
        arguments = [x for x in pytree.tree_leaves((args, kwargs)) if torch.is_tensor(x)]
        repetition += 1
        observe(RecordedCall(name, repetition - 1, arguments, output))
        return output

    return call


def group_calls(
    calls: Sequence[RecordedCall], layers: Sequence[Layer]
) -> list[list[RecordedCall]] | None:
    """Group calls by layer; None if layers run in another order than that of their list.

    Layers of one module may run several times, each of which counts as a layer.
    """
    if all(len(layer) == 1 for layer in layers):
        return [[call] for call in calls]
    order = [next(i for i, layer in enumerate(layers) if call.name in layer) for call in calls]
    names = [name for layer in layers for name in layer]
    if order != sorted(order) or sorted(call.name for call in calls) != sorted(names):
        return None
    return [[c for c, n in zip(calls, order, strict=True) if n == i] for i in range(len(layers))]
