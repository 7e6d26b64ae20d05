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

from fastif.data.examples import COLUMN_WEIGHTS, Batch
from fastif.models.objective import Objective
from fastif.models.parameters import Params, make_leaf_params
from fastif.numerics.arithmetic import upcast_half

GradientOf = Literal["losses", "measures", "roots"]
"""What rows are gradients of: the training losses, what is asked of queries, or root columns."""


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a layer that owns parameters: what went in, what came out.

    Attributes:
        name: of the layer.
        layer: the layer.
        inputs: the one tensor that it was given.
        outputs: what it returned.
        input_node: the node of the graph that made the input; None if nothing there is
            differentiated.
        output_edge: the output in the graph as the layer left it, whatever is done to the tensor in
            place afterwards; None if nothing there is differentiated.
        versions: of input and output when the layer returned.
        enclosing: names of the layers in whose calls this one was made.
        unsupported: what else the layer was given or gave; empty for one tensor in, one out.
    """

    name: str
    layer: nn.Module
    inputs: Tensor
    outputs: Tensor
    input_node: Node | None = None
    output_edge: GradientEdge | None = None
    versions: tuple[int, int] = (0, 0)
    enclosing: tuple[str, ...] = ()
    unsupported: str = ""


LayerGrads = list[tuple[LayerCall, Tensor]]
"""Calls, each with the gradient at its output."""


@dataclass(frozen=True, eq=False)
class HookedPass:
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
    calls: list[LayerCall]

    @classmethod
    def run(cls, objective: Objective, batch: Batch) -> "HookedPass":
        """Run the model and note every call."""
        params = make_leaf_params(objective.params)
        with torch.enable_grad(), _LayerHooks(objective) as hooks:
            outputs = objective.outputs(params, batch)
        return cls(objective, batch, params, outputs, hooks.calls)

    def backpropagate(
        self, gradient_of: GradientOf
    ) -> Iterator[tuple[Float[Tensor, "b c"], LayerGrads]]:
        """What is pulled back, and the calls with the gradient at their outputs.

        Once for the losses or measures, or once for each column of the root; always the same calls.
        One from which no path leads to the outputs is left out.
        """
        calls = [call for call in self.calls if call.output_edge is not None]
        edges = [call.output_edge for call in calls if call.output_edge is not None]
        for cotangent in compute_cotangents(self.objective, self.outputs, self.batch, gradient_of):
            deltas: tuple[Tensor | None, ...] = ()
            if edges and self.outputs.requires_grad:
                deltas = torch.autograd.grad(
                    self.outputs, edges, cotangent, retain_graph=True, allow_unused=True
                )
            pairs = zip(calls, deltas, strict=False)
            yield cotangent, [(call, delta) for call, delta in pairs if delta is not None]


def capture_layer_grads(
    objective: Objective, batch: Batch, gradient_of: GradientOf
) -> Iterator[LayerGrads]:
    """The calls of `HookedPass.backpropagate`, unchecked; `Gradients.map_columns` checks them.

    Raises:
        ValueError: a layer was given or gave something else than one tensor.
    """
    hooked_pass = HookedPass.run(objective, batch)
    for call in hooked_pass.calls:
        if call.unsupported:
            raise ValueError(f"{call.name} {call.unsupported}")
    for _, layer_grads in hooked_pass.backpropagate(gradient_of):
        yield layer_grads


def compute_cotangents(
    objective: Objective, outputs: Tensor, batch: Batch, gradient_of: GradientOf
) -> Iterator[Float[Tensor, "b c"]]:
    """What is pulled back through the model: a gradient in the outputs, or the root's columns.

    Where the batch holds weights z, the columns of the root S are mixed into the one column S z:
    over random signs the mean of (S z)(S z)ᵀ is S Sᵀ, and so it is over columns drawn by chance.
    """
    detached, targets = upcast_half(outputs.detach()), batch["labels"]
    if gradient_of == "roots":
        factor = objective.loss.sqrt_hessian(detached, targets)
        if COLUMN_WEIGHTS in batch:
            factor = factor @ batch[COLUMN_WEIGHTS].to(factor.dtype)[:, :, None]
        yield from factor.to(outputs.dtype).unbind(-1)
        return
    function = objective.loss if gradient_of == "losses" else objective.query_measure
    with torch.enable_grad():
        leaf = detached.requires_grad_()
        total = function(leaf, targets).sum()
    yield torch.autograd.grad(total, leaf)[0].to(outputs.dtype)


def _find_owners(objective: Objective) -> dict[str, nn.Module]:
    """The modules that own attributed parameters, by name."""
    names = {get_owner_name(name) for name in objective.space.names}
    return {name: objective.module.get_submodule(name) for name in names}


class _LayerHooks:
    """Notes every call of a layer that owns attributed parameters while it is entered."""

    def __init__(self, objective: Objective) -> None:
        self.calls: list[LayerCall] = []
        self._owners = _find_owners(objective)
        self._open: list[str] = []
        self._handles: list[Any] = []

    def __enter__(self) -> "_LayerHooks":
        for name, layer in self._owners.items():
            before, after = partial(self._enter_call, name), partial(self._record_call, name)
            self._handles.append(layer.register_forward_pre_hook(before))
            self._handles.append(layer.register_forward_hook(after, with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _enter_call(self, name: str, _: nn.Module, __: tuple) -> None:
        self._open.append(name)

    def _record_call(
        self, name: str, layer: nn.Module, args: tuple, kwargs: dict, output: object
    ) -> None:
        self._open.pop()
        enclosing = tuple(self._open)
        unsupported = _describe_unsupported(args, kwargs, output)
        if unsupported or not isinstance(output, Tensor):
            empty = torch.empty(0)
            self.calls.append(
                LayerCall(name, layer, empty, empty, enclosing=enclosing, unsupported=unsupported)
            )
            return
        input_tensor = args[0]
        edge = get_gradient_edge(output) if output.requires_grad else None
        versions = input_tensor._version, output._version
        inputs = input_tensor.detach()
        call = LayerCall(
            name, layer, inputs, output, input_tensor.grad_fn, edge, versions, enclosing
        )
        self.calls.append(call)


def _describe_unsupported(args: tuple, kwargs: dict, output: object) -> str:
    """What a call has beside one tensor in and one out; empty if nothing."""
    if len(args) != 1 or kwargs or not isinstance(args[0], Tensor):
        return (
            f"is given {len(args)} positional and {len(kwargs)} keyword arguments, not one tensor"
        )
    if not isinstance(output, Tensor):
        return f"returns {type(output).__name__}, not one tensor"
    return ""


def get_owner_name(name: str) -> str:
    """The module that a parameter belongs to, by name."""
    return name.rpartition(".")[0]
