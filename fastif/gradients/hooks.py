"""Forward hooks on the layers that own parameters: what they were given, and what came back.

One backward pass over a batch gives the gradient at the output of every such layer; from it and
the layer's input the gradient of each example follows. Where that holds is for `structure` to say.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from fastif.data.examples import Batch
from fastif.models.objective import Objective
from fastif.models.parameters import Params
from fastif.numerics.arithmetic import single

Pulled = Literal["losses", "measures", "roots"]
"""What rows are gradients of: the training losses, what is asked of queries, or root columns."""


MIX = "mix"
"""Key of a batch that holds a weight for each example and root column; see `cotangents`."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer that owns parameters: what went in, what came out.

    Attributes:
        name: of the layer.
        layer: the layer.
        inputs: the one tensor that it was given.
        outputs: what it returned.
        start: the node of the graph that made the input; None if nothing there is differentiated.
        edge: the output in the graph as the layer left it, whatever is done to the tensor in place
            afterwards; None if nothing there is differentiated.
        versions: of input and output when the layer returned.
        within: names of the layers in whose calls this one was made.
        odd: what else the layer was given or gave; empty for one tensor in, one out.
    """

    name: str
    layer: nn.Module
    inputs: Tensor
    outputs: Tensor
    start: Node | None = None
    edge: GradientEdge | None = None
    versions: tuple[int, int] = (0, 0)
    within: tuple[str, ...] = ()
    odd: str = ""


Heard = list[tuple[Call, Tensor]]
"""Calls, each with the gradient at its output."""


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass with hooks.

    Attributes:
        objective, batch: whose outputs.
        params: the attributed parameters, as leaves of the graph.
        outputs: of the model.
        calls: every call of a layer that owns attributed parameters, in the order they ended.
    """

    objective: Objective
    batch: Batch
    params: Params
    outputs: Tensor
    calls: list[Call]

    @classmethod
    def run(cls, objective: Objective, batch: Batch) -> "Pass":
        """Run the model and note every call."""
        params = leaves(objective)
        with torch.enable_grad(), _Hooks(objective) as hooks:
            outputs = objective.outputs(params, batch)
        return cls(objective, batch, params, outputs, hooks.calls)

    def columns(self, of: Pulled) -> Iterator[tuple[Float[Tensor, "b c"], Heard]]:
        """What is pulled back, and the calls with the gradient at their outputs.

        Once for the losses or measures, or once for each column of the root; always the same calls.
        One from which no path leads to the outputs is left out.
        """
        calls = [call for call in self.calls if call.edge is not None]
        at = [call.edge for call in calls if call.edge is not None]
        for cotangent in cotangents(self.objective, self.outputs, self.batch, of):
            deltas: tuple[Tensor | None, ...] = ()
            if at and self.outputs.requires_grad:
                deltas = torch.autograd.grad(
                    self.outputs, at, cotangent, retain_graph=True, allow_unused=True
                )
            pairs = zip(calls, deltas, strict=False)
            yield cotangent, [(call, delta) for call, delta in pairs if delta is not None]


def hear(objective: Objective, batch: Batch, of: Pulled) -> Iterator[Heard]:
    """The calls of `Pass.columns`, unchecked; `Gradients.taken` is the way that is checked.

    Raises:
        ValueError: a layer was given or gave something else than one tensor.
    """
    made = Pass.run(objective, batch)
    for call in made.calls:
        if call.odd:
            raise ValueError(f"{call.name} {call.odd}")
    for _, heard in made.columns(of):
        yield heard


def cotangents(
    objective: Objective, outputs: Tensor, batch: Batch, of: Pulled
) -> Iterator[Float[Tensor, "b c"]]:
    """What is pulled back through the model: a gradient in the outputs, or the root's columns.

    Where the batch holds weights z, the columns of the root S are mixed into the one column S z:
    over random signs the mean of (S z)(S z)ᵀ is S Sᵀ, and so it is over columns drawn by chance.
    """
    detached, targets = single(outputs.detach()), batch["labels"]
    if of == "roots":
        root = objective.loss.root(detached, targets)
        if MIX in batch:
            root = root @ batch[MIX].to(root.dtype)[:, :, None]
        yield from root.to(outputs.dtype).unbind(-1)
        return
    function = objective.loss if of == "losses" else objective.asked
    with torch.enable_grad():
        leaf = detached.requires_grad_()
        total = function(leaf, targets).sum()
    yield torch.autograd.grad(total, leaf)[0].to(outputs.dtype)


def leaves(objective: Objective) -> dict[str, Tensor]:
    """The trained parameters, as leaves to differentiate at."""
    return {name: tensor.detach().requires_grad_() for name, tensor in objective.params.items()}


def _owners(objective: Objective) -> dict[str, nn.Module]:
    """The modules that own attributed parameters, by name."""
    names = {owner_of(name) for name in objective.space.names}
    return {name: objective.module.get_submodule(name) for name in names}


class _Hooks:
    """Notes every call of a layer that owns attributed parameters while it is entered."""

    def __init__(self, objective: Objective) -> None:
        self.calls: list[Call] = []
        self._owners = _owners(objective)
        self._open: list[str] = []
        self._handles: list[Any] = []

    def __enter__(self) -> "_Hooks":
        for name, layer in self._owners.items():
            before, after = partial(self._begin, name), partial(self._note, name)
            self._handles.append(layer.register_forward_pre_hook(before))
            self._handles.append(layer.register_forward_hook(after, with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, name: str, _: nn.Module, __: tuple) -> None:
        self._open.append(name)

    def _note(self, name: str, layer: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        self._open.pop()
        within = tuple(self._open)
        odd = _odd(args, kwargs, output)
        if odd or not isinstance(output, Tensor):
            nothing = torch.empty(0)
            self.calls.append(Call(name, layer, nothing, nothing, within=within, odd=odd))
            return
        given = args[0]
        edge = get_gradient_edge(output) if output.requires_grad else None
        versions = given._version, output._version
        inputs = given.detach()
        call = Call(name, layer, inputs, output, given.grad_fn, edge, versions, within)
        self.calls.append(call)


def _odd(args: tuple, kwargs: dict, output: object) -> str:
    """What a call has beside one tensor in and one out; empty if nothing."""
    if len(args) != 1 or kwargs or not isinstance(args[0], Tensor):
        return (
            f"is given {len(args)} positional and {len(kwargs)} keyword arguments, not one tensor"
        )
    if not isinstance(output, Tensor):
        return f"returns {type(output).__name__}, not one tensor"
    return ""


def owner_of(name: str) -> str:
    """The module that a parameter belongs to, by name."""
    return name.rpartition(".")[0]
