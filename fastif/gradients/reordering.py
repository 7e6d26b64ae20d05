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

STATIC_MOVES = {
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

TENSOR_INDEXED = {
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

MATRIX_PRODUCTS = frozenset(["Mm", "Addmm", "Bmm", "Baddbmm", "Mv", "Addmv"])
"""Matrix products: one with a matrix of zeros and ones moves rows just as an index does."""

VIEW_OPERATIONS = frozenset(
    ["T", "Transpose", "Permute", "View", "UnsafeView", "Expand", "ToCopy", "Alias"]
)
"""What a weight may pass through on its way into a product."""

REDUCTIONS = frozenset(
    ["Sum", "Nansum", "Mean", "Amax", "Amin", "Max", "Min", "Prod", "Logsumexp", "LinalgVectorNorm"]
)
"""Over products with a matrix of zeros and ones these choose rows as a product of matrices does."""

AXIS_OPERATIONS = {
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

SPLIT_OPERATIONS = frozenset(
    ["Unbind", "UnsafeSplit", "Split", "SplitWithSizes", "Select", "Slice"]
)
"""Operations that take examples apart: the data may say how they are put together again."""

REORDER_OPERATIONS = frozenset(["Flip", "Roll"])
"""Operations that reorder all rows: the data may say how much of the result is taken."""

OPAQUE_OPERATIONS = frozenset(
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
    name = get_operation(node)
    if name in SPLIT_OPERATIONS | REORDER_OPERATIONS and is_along_first_axis(node):
        return name in REORDER_OPERATIONS or _may_split_examples(node, count)
    if name in TENSOR_INDEXED:
        return _may_move_rows(node, name)
    if name in MATRIX_PRODUCTS:
        return _may_mix_examples(node, name, count)
    if name in REDUCTIONS:
        return _may_reduce_examples(node, count)
    if name in AXIS_OPERATIONS:
        return _may_move_axis(node, name, count)
    # what a function with a backward pass of its own does is not known
    return name in OPAQUE_OPERATIONS or isinstance(node, BackwardCFunction)


def get_operation(node: Node) -> str:
    """The name of its operation."""
    return _parse_operation(node.name())


@cache
def _parse_operation(name: str) -> str:
    """The operation of a node by its name.

    >>> _parse_operation("IndexSelectBackward0"), _parse_operation("torch::autograd::CopySlices")
    ('IndexSelect', 'CopySlices')
    """
    return name.rpartition(":")[2].partition("Backward")[0]


def is_along_first_axis(node: Node) -> bool:
    """Whether an operation along one axis is along the first, as far as the node tells."""
    width = len(_get_output_shape(*node.next_functions[0]))
    dims = getattr(node, "_saved_dims", None)
    if dims is not None:
        return not dims or 0 in [_normalize_axis(dim, width) for dim in dims]
    return _normalize_axis(getattr(node, "_saved_dim", 0), width) == 0


def _may_move_rows(node: Node, name: str) -> bool:
    """Whether rows are put elsewhere by a tensor that does not just count them."""
    index = getattr(node, TENSOR_INDEXED[name], None)
    if name in ("Index", "IndexPut"):
        first = index[0] if index else None
        return first is not None and not _is_identity_index(first, node, name)
    dim = getattr(node, "_saved_dim", 0)
    width = index.dim() if isinstance(index, Tensor) else 0
    is_identity = isinstance(index, Tensor) and _is_identity_index(index, node, name)
    return _normalize_axis(dim, width) == 0 and not is_identity


def _may_mix_examples(node: Node, name: str, count: int) -> bool:
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
    while second is not None and _parse_operation(second.name()) in VIEW_OPERATIONS:
        second = second.next_functions[0][0]
    return second is not None and not hasattr(second, "variable")


def _may_reduce_examples(node: Node, count: int) -> bool:
    """Whether it goes over an axis as long as the batch, and leaves another such axis."""
    before, after = _get_output_shape(*node.next_functions[0]), _get_output_shape(node, 0)
    return count in after and before.count(count) > after.count(count)


def _may_hold_examples(node: Node, count: int) -> bool:
    """Whether it is on something computed, whose first axis may be that of the examples."""
    input_node, output = node.next_functions[0]
    if input_node is None or hasattr(input_node, "variable"):
        return False
    sizes = _get_output_shape(input_node, output)
    return bool(sizes) and sizes[0] > 0 and sizes[0] % count == 0


def _may_split_examples(node: Node, count: int) -> bool:
    """Whether examples are taken out of a batch; a slice of all of them leaves it whole."""
    before, after = _get_output_shape(*node.next_functions[0]), _get_output_shape(node, 0)
    return _may_hold_examples(node, count) and before != after


def _may_move_axis(node: Node, name: str, count: int) -> bool:
    """Whether the axis of the examples is another one afterwards."""
    if not _may_hold_examples(node, count):
        return False
    sizes = _get_output_shape(node, 0)
    if name in ("View", "UnsafeView"):
        return not sizes or sizes[0] % count != 0
    before, after = len(_get_output_shape(*node.next_functions[0])), len(sizes)
    axes = [_normalize_axis(axis, after) for axis in _saved_axes(node, name)]
    if name == "Permute":
        return axes[:1] != [0]
    if name in ("Expand", "Repeat"):
        return before < after
    return name == "T" or 0 in axes


def _saved_axes(node: Node, name: str) -> list[int]:
    saved = (getattr(node, attribute, 0) for attribute in AXIS_OPERATIONS[name].split())
    return [axis for value in saved for axis in (value if isinstance(value, tuple) else (value,))]


def _normalize_axis(axis: int, width: int) -> int:
    """An axis counted from the front; the graph keeps a negative number as a huge one."""
    axis = axis - 2**64 if axis > 2**62 else axis
    return axis + width if axis < 0 else axis


def _get_output_shape(node: Node | None, output: int) -> tuple[int, ...]:
    """The shape of what an operation gave."""
    metadata = getattr(node, "_input_metadata", ())
    return tuple(metadata[output].shape) if output < len(metadata) else ()


def _is_identity_index(index: Tensor, node: Node, name: str) -> bool:
    """Whether an index is 0, 1, 2, ... over all rows: then nothing moves."""
    sizes = getattr(node, "_saved_self_sym_sizes", None)
    if name not in ("Index", "IndexSelect") or sizes is None or index.dtype == torch.bool:
        return False
    return index.dim() == 1 and index.tolist() == list(range(sizes[0]))
