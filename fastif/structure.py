"""Where forward hooks see what per-example gradients need, read off the graph of a forward pass.

The gradient of an example follows from what a layer was given and the gradient at its output only
if the layer got that one tensor, if the rows of the tensor are the rows of the batch, and if its
parameters act nowhere else. All but the order of the rows can be read off the calls and the graph;
what may change the order is reported, so that it can be checked in numbers.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from fastif.layers import is_plain
from fastif.listening import Call, Pass, owner_of

STATIC = {
    "Slice": ("_saved_start", "_saved_end"),
    "Select": ("_saved_index",),
    "Split": ("_saved_split_size",),
    "SplitWithSizes": ("_saved_split_sizes",),
    "Roll": ("_saved_shifts",),
    "Flip": (),
    "Cat": (),
    "Stack": (),
    "Unbind": (),
}
"""Operations that move rows by plain numbers, and these numbers: others make another structure."""

BY_TENSOR = {
    "Index": "_saved_indices",
    "IndexSelect": "_saved_index",
    "IndexCopy": "_saved_index",
    "IndexAdd": "_saved_index",
    "IndexFill": "_saved_index",
    "Gather": "_saved_index",
    "Scatter": "_saved_index",
    "ScatterAdd": "_saved_index",
    "ScatterReduce": "_saved_index",
    "Sort": "_saved_indices",
    "Topk": "_saved_indices",
    "IndexPut": "_saved_indices",
}
"""Operations that move rows to where a tensor says, and that tensor: no two batches are alike."""

PRODUCTS = frozenset(["Mm", "Addmm", "Bmm", "Baddbmm", "Mv", "Addmv"])
"""Matrix products: one with a matrix of zeros and ones moves rows just as an index does."""

VIEWS = frozenset(["T", "Transpose", "Permute", "View", "UnsafeView", "Expand", "ToCopy", "Alias"])
"""What a weight may pass through on its way into a product."""

TRANSPOSED = frozenset(["T", "Transpose", "Permute"])
"""What makes rows of columns."""

SUMS = {"Mm": 0, "Bmm": 0, "Mv": 0, "Addmm": 1, "Baddbmm": 1, "Addmv": 1, "Sum": 0, "Mean": 0}
"""Operations that sum along an axis, and which operand is the first of the product: where that axis
is as long as the batch, a permutation of the rows may be written as a product of matrices."""

SUMS = frozenset(["Sum", "Mean"])
"""Sums: over products with a matrix of zeros and ones they are a product of matrices."""

TURNS = frozenset(["Flip", "Roll"])
"""Operations that reorder all rows: the data may say how much of the result is taken."""

ANYWHERE = frozenset(
    [
        "MaskedScatter",
        "MaskedSelect",
        "Take",
        "Put",
        "PackPaddedSequence",
        "AsStrided",
        "CopySlices",
    ]
)
"""Operations that may move rows in a way that the graph does not tell."""


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
        name = _operation(node.name())
        if name in STATIC:
            if _on_rows(node):
                self.seen.append((name, *(str(getattr(node, at, "")) for at in STATIC[name])))
                self.moves_rows |= name in TURNS
        elif name in BY_TENSOR:
            self.moves_rows |= _moves(node, name)
        elif name in PRODUCTS:
            self.moves_rows |= _mixes(node, name, len(self.made.batch["labels"]))
        elif name in SUMS:
            self.moves_rows |= _sums(node, len(self.made.batch["labels"]))
        else:  # what a function with a backward pass of its own does is not known
            self.moves_rows |= name in ANYWHERE or isinstance(node, BackwardCFunction)
        self.seen.append(name)


@cache
def _operation(name: str) -> str:
    """The operation of a node by its name.

    >>> _operation("IndexSelectBackward0"), _operation("torch::autograd::CopySlices")
    ('IndexSelect', 'CopySlices')
    """
    return name.rpartition(":")[2].partition("Backward")[0]


def _on_rows(node: Node) -> bool:
    """Whether an operation along one axis is along the first, as far as the node tells."""
    dims = getattr(node, "_saved_dims", None)
    if dims is not None:
        return not dims or 0 in dims
    return getattr(node, "_saved_dim", 0) == 0


def _moves(node: Node, name: str) -> bool:
    """Whether rows are put elsewhere by a tensor that does not just count them."""
    found = getattr(node, BY_TENSOR[name], None)
    if name in ("Index", "IndexPut"):
        first = found[0] if found else None
        return first is not None and not _counts(first, node, name)
    dim = getattr(node, "_saved_dim", 0)
    width = found.dim() if isinstance(found, Tensor) else 0
    if dim > 2**62:  # a negative number as the graph keeps it
        dim += width - 2**64
    return dim == 0 and not (isinstance(found, Tensor) and _counts(found, node, name))


def _mixes(node: Node, name: str, count: int) -> bool:
    """Whether a product may sum over the examples, so that a matrix decides on their order.

    Of two matrices A X the gradient goes to X as to anything that a matrix A chooses from, unless X
    is a weight. Of many products at once it does if they are not so many for each example.
    """
    if name in ("Bmm", "Baddbmm"):
        saved = (getattr(node, at, None) for at in ("_saved_self", "_saved_mat2", "_saved_batch1"))
        sizes = [len(tensor) for tensor in saved if isinstance(tensor, Tensor)]
        return bool(sizes) and sizes[0] % count != 0
    first, second = node.next_functions[-2][0], node.next_functions[-1][0]
    if first is not None and _operation(first.name()) in TRANSPOSED:
        return True  # Xᵀ A
    while second is not None and _operation(second.name()) in VIEWS:
        second = second.next_functions[0][0]
    return second is not None and not hasattr(second, "variable")


def _sums(node: Node, count: int) -> bool:
    """Whether a sum goes over an axis as long as the batch, and leaves another such axis."""
    before, after = _shape(*node.next_functions[0]), _shape(node, 0)
    return count in after and before.count(count) > after.count(count)


def _shape(node: Node | None, output: int) -> tuple[int, ...]:
    """The shape of what an operation gave."""
    known = getattr(node, "_input_metadata", ())
    return tuple(known[output].shape) if output < len(known) else ()


def _counts(index: Tensor, node: Node, name: str) -> bool:
    """Whether an index is 0, 1, 2, ... over all rows: then nothing moves."""
    sizes = getattr(node, "_saved_self_sym_sizes", None)
    if name not in ("Index", "IndexSelect") or sizes is None or index.dtype == torch.bool:
        return False
    return index.dim() == 1 and index.tolist() == list(range(sizes[0]))
