"""Where forward hooks see what per-example gradients need, read off the graph of a forward pass.

The gradient of an example follows from what a layer was given and the gradient at its output only
if the layer got that one tensor, if the rows of the tensor are the rows of the batch, and if its
parameters act nowhere else. All but the order of the rows can be read off the calls and the graph;
what may change the order is reported, so that it can be checked in numbers.
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


@dataclass(frozen=True)
class GraphStructure:
    """What the graph of one forward pass says.

    Attributes:
        unsupported: why hooks cannot give per-example gradients; empty if nothing is known.
        unsupported_layers: the same for each layer that it is true of.
        signature: the calls and operations; batches of one signature are computed alike.
        moves_rows: whether rows are moved to where the data say.
    """

    unsupported: str
    unsupported_layers: dict[str, str]
    signature: Hashable
    moves_rows: bool


def read_graph_structure(hooked_pass: HookedPass) -> GraphStructure:
    """Read it off a forward pass."""
    walk, unsupported_layers = _GraphWalk(hooked_pass), find_unsupported_calls(hooked_pass)
    for layer, reason in walk.find_params_used_outside().items():
        unsupported_layers.setdefault(layer, reason)
    names = tuple(call.name for call in hooked_pass.calls)
    unsupported = next(iter(unsupported_layers.values()), "")
    signature = (names, walk.moves_rows, hash(tuple(walk.operations)))
    return GraphStructure(unsupported, unsupported_layers, signature, walk.moves_rows)


def find_unsupported_calls(hooked_pass: HookedPass) -> dict[str, str]:
    """What the calls themselves say, for each layer that cannot be taken by hooks."""
    count = len(hooked_pass.batch["labels"])
    reasons: dict[str, str] = {}
    for call in hooked_pass.calls:
        reason = call.unsupported or _find_call_defect(call, count)
        if reason:
            reasons.setdefault(call.name, f"{_format_layer(call.name)} {reason}")
    return reasons


def _find_call_defect(call: LayerCall, count: int) -> str:
    """Why the call does not show what each example does; empty if nothing is known."""
    rows = {len(tensor) if tensor.dim() else 0 for tensor in (call.inputs, call.outputs)}
    if rows != {count}:
        counts = " and ".join(map(str, sorted(rows)))
        return f"is given other rows than those of the batch ({counts} for {count} examples)"
    if _has_foreign_hooks(call.layer):
        return "has hooks of its own"
    if call.inputs._version != call.versions[0]:
        return "has an input that is changed in place after it was read"
    if not has_closed_form(call.layer) and call.outputs._version != call.versions[1]:
        return "has an output that is changed in place"
    return ""


def _format_layer(layer: str) -> str:
    return f"layer {layer}" if layer else "the model itself"


def _has_foreign_hooks(layer: nn.Module) -> bool:
    """Whether somebody else watches, or changes, what the layer is given or returns."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


@dataclass
class _GraphWalk:
    """One walk over the graph, from the outputs and from every call's ends.

    Attributes:
        operations: the operations as they are met, with the numbers by which they move rows.
        moves_rows: whether some tensor of the data may say where to.
    """

    hooked_pass: HookedPass
    operations: list[Hashable] = field(default_factory=list)
    moves_rows: bool = False

    def find_params_used_outside(self) -> dict[str, str]:
        """The layers with a parameter that acts outside of their calls, and which."""
        hooked_pass = self.hooked_pass
        leaves = {id(leaf): name for name, leaf in hooked_pass.params.items()}
        end_calls: dict[Node, LayerCall] = {}
        regions: list[tuple[Node | None, frozenset[str], frozenset[Node]]] = []
        start_nodes = {
            call.name: call.input_node for call in hooked_pass.calls if call.input_node is not None
        }
        for call in hooked_pass.calls:
            node = None if call.output_edge is None else call.output_edge.node
            if node is not None and node not in end_calls:  # the inner one of two that end together
                end_calls[node] = call
                stop = frozenset(filter(None, [call.input_node]))
                regions.append((node, frozenset([call.name]), stop - {node}))
            outer = frozenset(start_nodes[name] for name in call.enclosing if name in start_nodes)
            regions.append((call.input_node, frozenset(call.enclosing), outer))
        if hooked_pass.outputs.grad_fn is not None:
            regions.append((hooked_pass.outputs.grad_fn, frozenset(), frozenset()))
        names = {n for args in regions for n in self._walk_region(*args, end_calls, leaves)}
        return {
            get_owner_name(name): f"{name} acts outside of the calls of its own layer"
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
        """The parameters of other layers that are met before another call."""
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
