"""Whether an operation of the graph may put examples in another order than that of the batch.

An index does by itself, a product with a matrix of zeros and ones no less. Whatever may sum over
the examples, choose among them, or move their axis counts as if it did: then the rows of gradients
are compared in numbers.
"""

from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

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

REDUCTIONS = frozenset(
    ["Sum", "Nansum", "Mean", "Amax", "Amin", "Max", "Min", "Prod", "Logsumexp", "LinalgVectorNorm"]
)
"""Over products with a matrix of zeros and ones these choose rows as a product of matrices does."""

AXES = {
    "Unsqueeze": "_saved_dim",
    "Stack": "_saved_dim",
    "Transpose": "_saved_dim0 _saved_dim1",
    "Permute": "_saved_dims",
    "T": "",
    "Expand": "",
    "Repeat": "",
    "View": "",
    "UnsafeView": "",
}
"""Operations that may put the axis of the examples elsewhere, and what says so: after them whatever
goes over the first axis, or over the rest, may mix examples."""

PARTS = frozenset(["Unbind", "UnsafeSplit", "Split", "SplitWithSizes", "Select", "Slice"])
"""Operations that take examples apart: the data may say how they are put together again."""

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


def may_reorder(node: Node, count: int) -> bool:
    """Whether the data may decide, in this operation, which example stands where.

    Args:
        node: of the graph of a forward pass.
        count: examples in the batch.
    """
    name = operation_of(node)
    if name in PARTS | TURNS and on_rows(node):
        return name in TURNS or _takes_apart(node, count)
    if name in BY_TENSOR:
        return _moves(node, name)
    if name in PRODUCTS:
        return _mixes(node, name, count)
    if name in REDUCTIONS:
        return _reduces(node, count)
    if name in AXES:
        return _puts_elsewhere(node, name, count)
    # what a function with a backward pass of its own does is not known
    return name in ANYWHERE or isinstance(node, BackwardCFunction)


def operation_of(node: Node) -> str:
    """The name of its operation."""
    return _operation(node.name())


@cache
def _operation(name: str) -> str:
    """The operation of a node by its name.

    >>> _operation("IndexSelectBackward0"), _operation("torch::autograd::CopySlices")
    ('IndexSelect', 'CopySlices')
    """
    return name.rpartition(":")[2].partition("Backward")[0]


def on_rows(node: Node) -> bool:
    """Whether an operation along one axis is along the first, as far as the node tells."""
    width = len(_shape(*node.next_functions[0]))
    dims = getattr(node, "_saved_dims", None)
    if dims is not None:
        return not dims or 0 in [_axis(dim, width) for dim in dims]
    return _axis(getattr(node, "_saved_dim", 0), width) == 0


def _moves(node: Node, name: str) -> bool:
    """Whether rows are put elsewhere by a tensor that does not just count them."""
    found = getattr(node, BY_TENSOR[name], None)
    if name in ("Index", "IndexPut"):
        first = found[0] if found else None
        return first is not None and not _counts(first, node, name)
    dim = getattr(node, "_saved_dim", 0)
    width = found.dim() if isinstance(found, Tensor) else 0
    counts = isinstance(found, Tensor) and _counts(found, node, name)
    return _axis(dim, width) == 0 and not counts


def _mixes(node: Node, name: str, count: int) -> bool:
    """Whether a product may sum over the examples, so that a matrix decides on their order.

    Of two matrices A X the gradient goes to X as to anything that a matrix A chooses from, unless X
    is a weight. Of many products at once it does if they are not so many for each example.
    """
    if name in ("Bmm", "Baddbmm"):
        operands = ("_saved_self", "_saved_mat2", "_saved_batch1")
        saved = (getattr(node, operand, None) for operand in operands)
        sizes = [len(tensor) for tensor in saved if isinstance(tensor, Tensor)]
        return bool(sizes) and sizes[0] % count != 0
    second = node.next_functions[-1][0]
    while second is not None and _operation(second.name()) in VIEWS:
        second = second.next_functions[0][0]
    return second is not None and not hasattr(second, "variable")


def _reduces(node: Node, count: int) -> bool:
    """Whether it goes over an axis as long as the batch, and leaves another such axis."""
    before, after = _shape(*node.next_functions[0]), _shape(node, 0)
    return count in after and before.count(count) > after.count(count)


def _holds_examples(node: Node, count: int) -> bool:
    """Whether it is on something computed, whose first axis may be that of the examples."""
    given, output = node.next_functions[0]
    if given is None or hasattr(given, "variable"):
        return False
    sizes = _shape(given, output)
    return bool(sizes) and sizes[0] > 0 and sizes[0] % count == 0


def _takes_apart(node: Node, count: int) -> bool:
    """Whether examples are taken out of a batch; a slice of all of them leaves it whole."""
    before, after = _shape(*node.next_functions[0]), _shape(node, 0)
    return _holds_examples(node, count) and before != after


def _puts_elsewhere(node: Node, name: str, count: int) -> bool:
    """Whether the axis of the examples is another one afterwards."""
    if not _holds_examples(node, count):
        return False
    sizes = _shape(node, 0)
    if name in ("View", "UnsafeView"):
        return not sizes or sizes[0] % count != 0
    before, after = len(_shape(*node.next_functions[0])), len(sizes)
    axes = [_axis(at, after) for at in _saved_axes(node, name)]
    if name == "Permute":
        return axes[:1] != [0]
    if name in ("Expand", "Repeat"):
        return before < after
    return name == "T" or 0 in axes


def _saved_axes(node: Node, name: str) -> list[int]:
    saved = (getattr(node, at, 0) for at in AXES[name].split())
    return [axis for some in saved for axis in (some if isinstance(some, tuple) else (some,))]


def _axis(axis: int, width: int) -> int:
    """An axis counted from the front; the graph keeps a negative number as a huge one."""
    axis = axis - 2**64 if axis > 2**62 else axis
    return axis + width if axis < 0 else axis


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
