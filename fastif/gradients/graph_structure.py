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

from fastif.gradients.hooks import Call, Pass, owner_of
from fastif.gradients.layer_rules import is_plain
from fastif.gradients.reordering import (
    STATIC,
    may_reorder,
    on_rows,
    operation_of,
)


@dataclass(frozen=True)
class Structure:
    """What the graph of one forward pass says.

    Attributes:
        objection: why hooks cannot give per-example gradients; empty if nothing is known.
        objections: the same for each layer that it is true of.
        signature: the calls and operations; batches of one signature are computed alike.
        moves_rows: whether rows are moved to where the data say.
    """

    objection: str
    objections: dict[str, str]
    signature: Hashable
    moves_rows: bool


def structure_of(made: Pass) -> Structure:
    """Read it off a forward pass."""
    walk, objections = _Walk(made), objections_to(made)
    for layer, reason in walk.outside().items():
        objections.setdefault(layer, reason)
    names = tuple(call.name for call in made.calls)
    objection = next(iter(objections.values()), "")
    signature = (names, walk.moves_rows, hash(tuple(walk.seen)))
    return Structure(objection, objections, signature, walk.moves_rows)


def objections_to(made: Pass) -> dict[str, str]:
    """What the calls themselves say, for each layer that cannot be taken by hooks."""
    count = len(made.batch["labels"])
    found: dict[str, str] = {}
    for call in made.calls:
        reason = call.odd or _unfit(call, count)
        if reason:
            found.setdefault(call.name, f"{_named(call.name)} {reason}")
    return found


def _unfit(call: Call, count: int) -> str:
    """Why the call does not show what each example does; empty if nothing is known."""
    rows = {len(part) if part.dim() else 0 for part in (call.inputs, call.outputs)}
    if rows != {count}:
        found = " and ".join(map(str, sorted(rows)))
        return f"is given other rows than those of the batch ({found} for {count} examples)"
    if _own_hooks(call.layer):
        return "has hooks of its own"
    if call.inputs._version != call.versions[0]:
        return "has an input that is changed in place after it was read"
    if not is_plain(call.layer) and call.outputs._version != call.versions[1]:
        return "has an output that is changed in place"
    return ""


def _named(layer: str) -> str:
    return f"layer {layer}" if layer else "the model itself"


def _own_hooks(layer: nn.Module) -> bool:
    """Whether somebody else watches, or changes, what the layer is given or returns."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


@dataclass
class _Walk:
    """One walk over the graph, from the outputs and from every call's ends.

    Attributes:
        seen: the operations as they are met, with the numbers by which they move rows.
        moves_rows: whether some tensor of the data may say where to.
    """

    made: Pass
    seen: list[Hashable] = field(default_factory=list)
    moves_rows: bool = False

    def outside(self) -> dict[str, str]:
        """The layers with a parameter that acts outside of their calls, and which."""
        made = self.made
        leaves = {id(leaf): name for name, leaf in made.params.items()}
        ends: dict[Node, Call] = {}
        starts: list[tuple[Node | None, frozenset[str], frozenset[Node]]] = []
        begin = {call.name: call.start for call in made.calls if call.start is not None}
        for call in made.calls:
            node = None if call.edge is None else call.edge.node
            if node is not None and node not in ends:  # the inner one of two that end together
                ends[node] = call
                stop = frozenset(filter(None, [call.start]))
                starts.append((node, frozenset([call.name]), stop - {node}))
            outer = frozenset(begin[name] for name in call.within if name in begin)
            starts.append((call.start, frozenset(call.within), outer))
        if made.outputs.grad_fn is not None:
            starts.append((made.outputs.grad_fn, frozenset(), frozenset()))
        names = {n for args in starts for n in self._region(*args, ends, leaves)}
        return {
            owner_of(name): f"{name} acts outside of the calls of its own layer"
            for name in made.params
            if name in names
        }

    def _region(
        self,
        start: Node | None,
        allowed: frozenset[str],
        stops: frozenset[Node],
        ends: dict[Node, Call],
        leaves: dict[int, str],
    ) -> Iterator[str]:
        """The parameters of other layers that are met before another call."""
        inside = start in ends and ends[start].name in allowed
        if start is None or (start in ends and not inside):
            return
        todo, met = [start], {start}
        while todo:
            node = todo.pop()
            leaf = leaves.get(id(getattr(node, "variable", None)))
            if leaf is not None and owner_of(leaf) not in allowed:
                yield leaf
            self._note(node)
            for following, _ in node.next_functions:
                if following is None or following in met or following in stops:
                    continue
                if following not in ends:
                    met.add(following)
                    todo.append(following)

    def _note(self, node: Node) -> None:
        name = operation_of(node)
        if name in STATIC and on_rows(node):
            self.seen.append((name, *(str(getattr(node, at, "")) for at in STATIC[name])))
        self.moves_rows |= may_reorder(node, len(self.made.batch["labels"]))
        self.seen.append(name)
