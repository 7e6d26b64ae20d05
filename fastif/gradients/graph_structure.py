"""Analysis of the autograd graph: layers for which forward hooks give per-example gradients.

The gradient of an example follows from a layer's input and output gradient only if the layer was
called with one tensor, the tensor's first axis is the batch, and its parameters are used nowhere
else. The calls and the graph show all of this except the order of examples. Operations that may
change that order are reported, so that gradients can be compared numerically.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from torch import nn
from torch.autograd.graph import Node

from fastif.gradients.hooks import HookedPass, LayerCall, get_owner_name
from fastif.gradients.layer_rules import has_closed_form
from fastif.gradients.reordering import (
    STATIC_MOVES,
    get_operation,
    is_along_first_axis,
    may_reorder,
)
from fastif.models.stage_cut import inject_hidden_states


@dataclass(frozen=True)
class GraphStructure:
    """Result of analysing the graph of one forward pass.

    Attributes:
        unsupported: Reason why hooks cannot give per-example gradients; empty if none was found.
        unsupported_layers: Reason for each layer that does not support hooks.
        signature: Sequence of calls and operations; batches with equal signatures share a
            structure.
        moves_rows: Whether examples may be reordered by the data.
    """

    unsupported: str
    unsupported_layers: dict[str, str]
    signature: Hashable
    moves_rows: bool


def read_graph_structure(hooked_pass: HookedPass) -> GraphStructure:
    """Analyse the graph of a forward pass."""
    walk, unsupported_layers = _GraphWalk(hooked_pass), find_unsupported_calls(hooked_pass)
    for layer, reason in walk.find_params_used_outside().items():
        unsupported_layers.setdefault(layer, reason)
    names = tuple(call.name for call in hooked_pass.calls)
    unsupported = next(iter(unsupported_layers.values()), "")
    signature = (names, walk.moves_rows, hash(tuple(walk.operations)))
    return GraphStructure(unsupported, unsupported_layers, signature, walk.moves_rows)


def find_unsupported_calls(hooked_pass: HookedPass) -> dict[str, str]:
    """Return the reason for each layer with a call that hooks do not support."""
    count = len(hooked_pass.batch["labels"])
    reasons: dict[str, str] = {}
    for call in hooked_pass.calls:
        reason = call.unsupported or _find_call_defect(call, count)
        if reason:
            reasons.setdefault(call.name, f"{_format_layer(call.name)} {reason}")
    return reasons


def _find_call_defect(call: LayerCall, count: int) -> str:
    """Return why a call does not give per-example gradients; empty if no reason was found."""
    rows = {len(tensor) if tensor.dim() else 0 for tensor in (call.inputs, call.outputs)}
    if rows != {count}:
        counts = " and ".join(map(str, sorted(rows)))
        return f"is called on other rows than those of the batch ({counts} for {count} examples)"
    if _has_foreign_hooks(call.layer):
        return "has other hooks"
    if call.inputs._version != call.versions[0]:
        return "has an input that is modified in place after the call"
    if not has_closed_form(call.layer) and call.outputs._version != call.versions[1]:
        return "has an output that is modified in place"
    return ""


def _format_layer(layer: str) -> str:
    return f"layer {layer}" if layer else "the model itself"


def _has_foreign_hooks(layer: nn.Module) -> bool:
    """Whether the layer has foreign hooks, which may change its input or output.

    The hook of a truncated model comes before those that capture a call, and acts in the model's
    forward pass alone.
    """
    before = {*layer._forward_pre_hooks.values()} - {inject_hidden_states}
    return bool(
        layer._forward_hooks or before or layer._backward_hooks or layer._backward_pre_hooks
    )


@dataclass
class _GraphWalk:
    """Walk over the autograd graph, from the outputs and from the boundaries of every call.

    Attributes:
        operations: Operations in the order of the walk, with the constants by which they move rows.
        moves_rows: Whether the data may decide the order of rows.
    """

    hooked_pass: HookedPass
    operations: list[Hashable] = field(default_factory=list)
    moves_rows: bool = False

    def find_params_used_outside(self) -> dict[str, str]:
        """Return the layers with a parameter used outside of their calls, and the reason."""
        hooked_pass = self.hooked_pass
        leaves = {id(leaf): name for name, leaf in hooked_pass.params.items()}
        end_calls: dict[Node, LayerCall] = {}
        regions: list[tuple[Node | None, frozenset[str], frozenset[Node]]] = []
        start_nodes = {
            call.name: call.input_node for call in hooked_pass.calls if call.input_node is not None
        }
        for call in hooked_pass.calls:
            node = None if call.output_edge is None else call.output_edge.node
            if node is not None and node not in end_calls:  # the inner of two nested calls
                end_calls[node] = call
                stop = frozenset(filter(None, [call.input_node]))
                regions.append((node, frozenset([call.name]), stop - {node}))
            outer = frozenset(start_nodes[name] for name in call.enclosing if name in start_nodes)
            regions.append((call.input_node, frozenset(call.enclosing), outer))
        if hooked_pass.outputs.grad_fn is not None:
            regions.append((hooked_pass.outputs.grad_fn, frozenset(), frozenset()))
        names = {n for args in regions for n in self._walk_region(*args, end_calls, leaves)}
        return {
            get_owner_name(name): f"{name} is used outside of the calls of its own layer"
            for name in hooked_pass.params
            if name in names
        }

    def _walk_region(
        self,
        start: Node | None,
        allowed: frozenset[str],
        stops: frozenset[Node],
        end_calls: dict[Node, LayerCall],
        leaves: dict[int, str],
    ) -> Iterator[str]:
        """Iterate over parameters of other layers that are reached before another call."""
        inside = start in end_calls and end_calls[start].name in allowed
        if start is None or (start in end_calls and not inside):
            return
        stack, visited = [start], {start}
        while stack:
            node = stack.pop()
            leaf = leaves.get(id(getattr(node, "variable", None)))
            if leaf is not None and get_owner_name(leaf) not in allowed:
                yield leaf
            self._record_node(node)
            for next_node, _ in node.next_functions:
                if next_node is None or next_node in visited or next_node in stops:
                    continue
                if next_node not in end_calls:
                    visited.add(next_node)
                    stack.append(next_node)

    def _record_node(self, node: Node) -> None:
        name = get_operation(node)
        if name in STATIC_MOVES and is_along_first_axis(node):
            self.operations.append(
                (name, *(str(getattr(node, attribute, "")) for attribute in STATIC_MOVES[name]))
            )
        self.moves_rows |= may_reorder(node, len(self.hooked_pass.batch["labels"]))
        self.operations.append(name)
