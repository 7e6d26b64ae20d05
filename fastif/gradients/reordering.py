"""Operations of the autograd graph that may reorder the examples of a batch.

An index can reorder rows, and so can a product with a permutation matrix. Every operation that may
sum over the examples, select among them, or move their axis is treated as a possible reordering.
Gradients are then compared numerically.
"""

from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from fastif.numerics.deferred_checks import assume_all

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
"""Operations that move rows by constants, with these constants: others give another structure."""

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
"""Operations that move rows by an index tensor, with its name: it may differ in every batch."""

MATRIX_PRODUCTS = frozenset(["Mm", "Addmm", "Bmm", "Baddbmm", "Mv", "Addmv"])
"""Matrix products: a permutation matrix moves rows as an index does."""

VIEW_OPERATIONS = frozenset(
    ["T", "Transpose", "Permute", "View", "UnsafeView", "Expand", "ToCopy", "Alias"]
)
"""Operations between a weight and a product that do not change its values."""

REDUCTIONS = frozenset(
    ["Sum", "Nansum", "Mean", "Amax", "Amin", "Max", "Min", "Prod", "Logsumexp", "LinalgVectorNorm"]
)
"""Reductions: over products with a 0-1 matrix they select rows as a matrix product does."""

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
"""Operations that may move the axis of the examples, and attributes with the axes.

After them, operations over the first axis, or over the others, may mix examples.
"""

SPLIT_OPERATIONS = frozenset(
    ["Unbind", "UnsafeSplit", "Split", "SplitWithSizes", "Select", "Slice"]
)
"""Operations that split the batch: the data may decide how it is joined again."""

REORDER_OPERATIONS = frozenset(["Flip", "Roll"])
"""Operations that reorder all rows: the data may decide how much of the result is used."""

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
"""Operations that may move rows in ways that the graph does not record."""


def may_reorder(node: Node, count: int) -> bool:
    """Whether an operation may reorder examples depending on the data.

    Args:
        node: Node in the graph of a forward pass.
        count: Number of examples in the batch.
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
    # a custom autograd function may do anything
    return name in OPAQUE_OPERATIONS or isinstance(node, BackwardCFunction)


def get_operation(node: Node) -> str:
    """Return the name of a node's operation."""
    return _parse_operation(node.name())


@cache
def _parse_operation(name: str) -> str:
    """Extract the operation from the name of a node.

    Examples:
        >>> _parse_operation("IndexSelectBackward0")
        'IndexSelect'
        >>> _parse_operation("torch::autograd::CopySlices")
        'CopySlices'
    """
    return name.rpartition(":")[2].partition("Backward")[0]


def is_along_first_axis(node: Node) -> bool:
    """Whether an operation along one axis is along the first, as far as the node records it."""
    width = len(_get_output_shape(*node.next_functions[0]))
    dims = getattr(node, "_saved_dims", None)
    if dims is not None:
        return not dims or 0 in [_normalize_axis(dim, width) for dim in dims]
    return _normalize_axis(getattr(node, "_saved_dim", 0), width) == 0


def _may_move_rows(node: Node, name: str) -> bool:
    """Whether rows are moved by an index tensor other than 0, 1, 2, ..."""
    index = getattr(node, TENSOR_INDEXED[name], None)
    if name in ("Index", "IndexPut"):
        first = index[0] if index else None
        return first is not None and not _is_identity_index(first, node, name)
    dim = getattr(node, "_saved_dim", 0)
    width = index.dim() if isinstance(index, Tensor) else 0
    is_identity = isinstance(index, Tensor) and _is_identity_index(index, node, name)
    return _normalize_axis(dim, width) == 0 and not is_identity


def _may_mix_examples(node: Node, name: str, count: int) -> bool:
    """Whether a product may sum over the examples, so that a matrix decides their order.

    In a product A X of two matrices, A may select rows of X, unless X is a weight. A batched
    product may do so if its batch is not a multiple of the examples.
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
    """Whether an axis as long as the batch is reduced, and another such axis remains."""
    before, after = _get_output_shape(*node.next_functions[0]), _get_output_shape(node, 0)
    return count in after and before.count(count) > after.count(count)


def _may_hold_examples(node: Node, count: int) -> bool:
    """Whether the input is a computed tensor with a first axis that may be that of the examples."""
    input_node, output = node.next_functions[0]
    if input_node is None or hasattr(input_node, "variable"):
        return False
    sizes = _get_output_shape(input_node, output)
    return bool(sizes) and sizes[0] > 0 and sizes[0] % count == 0


def _may_split_examples(node: Node, count: int) -> bool:
    """Whether only some examples of a batch are selected."""
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
    """Return a non-negative axis; the graph stores a negative one as a huge number."""
    axis = axis - 2**64 if axis > 2**62 else axis
    return axis + width if axis < 0 else axis


def _get_output_shape(node: Node | None, output: int) -> tuple[int, ...]:
    """Return the shape of an output of a node."""
    metadata = getattr(node, "_input_metadata", ())
    return tuple(metadata[output].shape) if output < len(metadata) else ()


def _is_identity_index(index: Tensor, node: Node, name: str) -> bool:
    """Whether an index is 0, 1, 2, ... over all rows, so that nothing moves."""
    sizes = getattr(node, "_saved_self_sym_sizes", None)
    if name not in ("Index", "IndexSelect") or sizes is None or index.dtype == torch.bool:
        return False
    if index.dim() != 1 or len(index) != sizes[0]:
        return False
    return assume_all(index == torch.arange(len(index), device=index.device))
