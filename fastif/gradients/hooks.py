"""Forward hooks that capture inputs and outputs of the layers with attributed parameters.

One backward pass over a batch gives the gradient at the output of every such layer. Together with
the layer's input it determines the gradient of each example, under the conditions that
`graph_structure` checks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from fastif.data.examples import COLUMN_WEIGHTS, Batch
from fastif.errors import InputError
from fastif.losses.sqrt_hessian import iterate_columns
from fastif.models.objective import Objective
from fastif.models.parameters import Params, detach_params, make_leaf_params
from fastif.numerics.arithmetic import upcast_half
from fastif.numerics.precision import SINGLE, Precision, autocast_passes

GradientOf = Literal["losses", "measures", "roots"]
"""Function to differentiate: training losses, query measures, or the GGN factor ("roots")."""


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a layer with attributed parameters, captured by a forward hook.

    Attributes:
        name: Full name of the layer.
        layer: Module that was called.
        inputs: Input tensor of the call.
        outputs: Output tensor of the call.
        input_node: Node of the autograd graph that made the input; None if it needs no gradient.
        output_edge: Edge of the autograd graph at the output, before any in-place change; None if
            the output needs no gradient.
        versions: Version counters of input and output at the end of the call.
        enclosing: Names of the layers within which this call was made.
        unsupported: Description of further inputs or outputs; empty for one tensor in and one out.
        params: Parameters of the layer in this call, by their names in it. The layer itself holds
            those of the module, which may be others than the objective's.
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
    params: Params = field(default_factory=dict)


_repeatable: "WeakKeyDictionary[Objective, bool]" = WeakKeyDictionary()

LayerGrads = list[tuple[LayerCall, Tensor]]
"""Calls, each with the gradient at its output."""


@dataclass(frozen=True, eq=False)
class HookedPass:
    """One forward pass with hooks.

    Attributes:
        objective, batch: Model and examples of the pass.
        params: Attributed parameters as leaves of the autograd graph.
        outputs: Outputs of the model.
        calls: All calls of layers with attributed parameters, in the order in which they ended.
        precision: Precision of the forward pass.
    """

    objective: Objective
    batch: Batch
    params: Params
    outputs: Tensor
    calls: list[LayerCall]
    precision: Precision = SINGLE

    @classmethod
    def run(cls, objective: Objective, batch: Batch, precision: Precision = SINGLE) -> "HookedPass":
        """Run the model on a batch in the given precision, and capture every call."""
        params = make_leaf_params(objective.params)
        with (
            torch.enable_grad(),
            autocast_passes(objective.like.device, precision),
            _LayerHooks(objective, _repeatable.get(objective, False)) as hooks,
        ):
            outputs = objective.outputs(params, batch)
        if hooks.has_shared_positions and objective not in _repeatable:
            exact = outputs.detach() if precision == SINGLE else None
            _repeatable[objective] = _may_repeat_positions(objective, batch, exact)
            if _repeatable[objective]:
                return cls.run(objective, batch, precision)
        return cls(objective, batch, params, outputs, hooks.calls, precision)

    @property
    def exact_outputs(self) -> Tensor | None:
        """Outputs for comparison with those of other batches; None if they are rounded."""
        return self.outputs if self.precision == SINGLE else None

    def backpropagate(
        self, gradient_of: GradientOf
    ) -> Iterator[tuple[Float[Tensor, "b c"], LayerGrads]]:
        """Propagate back, and yield the gradient in the outputs and at the outputs of every call.

        There is one backward pass for losses or measures, or one for each column of S_i, with equal
        calls. A call without a path to the outputs is left out.
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
    """Yield the calls of `HookedPass.backpropagate` without the checks of `Gradients.map_columns`.

    Raises:
        ValueError: If a layer has more than one tensor as input or output.
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
    """Compute the gradients in the outputs that are propagated back: of losses, or columns of S_i.

    S_i is the square root of the loss's Hessian, see `GaussNewton`. If the batch holds column
    weights z, the columns are mixed into the single column S_i z. The expectation of (S_i z)(S_i
    z)ᵀ is S_i S_iᵀ for random signs, and for importance-sampled columns.
    """
    detached, targets = upcast_half(outputs.detach()), batch["labels"]
    if gradient_of == "roots":
        blocks = objective.loss.sqrt_hessian_blocks(detached, targets)
        for column in iterate_columns(blocks, batch.get(COLUMN_WEIGHTS)):
            yield column.to(outputs.dtype)
        return
    function = objective.loss if gradient_of == "losses" else objective.query_measure
    with torch.enable_grad():
        leaf = detached.requires_grad_()
        total = function(leaf, targets).sum()
    yield torch.autograd.grad(total, leaf)[0].to(outputs.dtype)


def _find_owners(objective: Objective) -> dict[str, nn.Module]:
    """Return the modules with attributed parameters, by name."""
    names = {get_owner_name(name) for name in objective.space.names}
    return {name: objective.module.get_submodule(name) for name in names}


class _LayerHooks:
    """Context manager that captures every call of a layer with attributed parameters."""

    def __init__(self, objective: Objective, repeats: bool) -> None:
        self.calls: list[LayerCall] = []
        self.has_shared_positions = False
        self._repeats = repeats
        self._module = objective.module
        self._count = 0  # rows of the current pass, which may be one of several for a batch
        self._owners = _find_owners(objective)
        self._open: list[str] = []
        self._handles: list[Any] = []

    def __enter__(self) -> "_LayerHooks":
        start = self._module.register_forward_pre_hook(self._enter_model, with_kwargs=True)
        self._handles.append(start)
        for name, layer in self._owners.items():
            before, after = partial(self._enter_call, name), partial(self._record_call, name)
            self._handles.append(layer.register_forward_pre_hook(before))
            self._handles.append(layer.register_forward_hook(after, with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _enter_model(self, _: nn.Module, args: tuple, kwargs: dict) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        counts = {len(tensor) for tensor in tensors if tensor.dim()}
        self._count = counts.pop() if len(counts) == 1 else 0

    def _enter_call(self, name: str, layer: nn.Module, args: tuple) -> tuple | None:
        self._open.append(name)
        repeated = _repeat_shared_positions(layer, args, self._count)
        self.has_shared_positions |= repeated is not None
        return repeated if self._repeats else None

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
        node, params = input_tensor.grad_fn, detach_params(layer)
        self.calls.append(
            LayerCall(name, layer, inputs, output, node, edge, versions, enclosing, "", params)
        )


def _describe_unsupported(args: tuple, kwargs: dict, output: object) -> str:
    """Describe inputs and outputs other than one tensor each; empty if there are none."""
    if len(args) != 1 or kwargs or not isinstance(args[0], Tensor):
        return (
            f"has {len(args)} positional and {len(kwargs)} keyword arguments instead of one tensor"
        )
    if not isinstance(output, Tensor):
        return f"returns {type(output).__name__} instead of one tensor"
    return ""


@torch.no_grad()
def _may_repeat_positions(objective: Objective, batch: Batch, outputs: Tensor | None) -> bool:
    """Whether a model has the same outputs with shared positions looked up for each row.

    One that sums or reshapes what it looked up has not, or fails.
    """
    outputs = objective.outputs(objective.params, batch) if outputs is None else outputs
    try:
        with _LayerHooks(objective, True):
            repeated = objective.outputs(objective.params, batch)
    except (InputError, RuntimeError, ValueError, TypeError, IndexError):
        return False
    same_shape = repeated.shape == outputs.shape
    return same_shape and torch.allclose(outputs, repeated, rtol=1e-3, atol=1e-6, equal_nan=True)


def _repeat_shared_positions(layer: nn.Module, args: tuple, count: int) -> tuple | None:
    """Return the positions [1 t] that all rows of a batch share as [b t]; None for other calls.

    BERT and GPT-2 look their positions up once for a batch and add the result to every row, so the
    output gradient is the sum over the rows. Looked up for each row, the outputs are the same.
    """
    if type(layer) is not nn.Embedding or len(args) != 1 or not isinstance(args[0], Tensor):
        return None
    positions = args[0]
    if count < 2 or positions.dim() != 2 or len(positions) != 1:
        return None
    return (positions.expand(count, -1),)


def get_owner_name(name: str) -> str:
    """Return the full name of the module that owns a parameter."""
    return name.rpartition(".")[0]
