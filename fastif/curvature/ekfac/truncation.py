"""Which rows and columns of a matrix hold its few large entries."""

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class IndexBlock:
    """All entries where some rows and some columns meet.

    Attributes:
        rows, columns: their positions.
        cost: multiplications to turn an o x i matrix into these directions of both sides.
        columns_first: whether turning the columns before the rows is what costs that.
    """

    rows: Int[Tensor, " r"]
    columns: Int[Tensor, " c"]
    cost: int
    columns_first: bool


def find_dominant_blocks(large: Bool[Tensor, "o i"]) -> list[IndexBlock]:
    """At most two boxes, disjoint in their rows, that hold all large entries.

    The large entries of a matrix like an outer product form a staircase: a few rows are large in
    nearly all columns, most rows in a few columns only. One box around them all would be nearly
    the whole matrix. So the rows with most large entries are put in a box of their own, as many as
    make it cheapest to turn a matrix into the directions of both.

    >>> import torch
    >>> boxes = find_dominant_blocks(torch.tensor([[1, 1, 1], [1, 0, 0], [1, 0, 0]]) > 0)
    >>> [(box.rows.tolist(), box.columns.tolist()) for box in boxes]
    [([0], [0, 1, 2]), ([1, 2], [0])]
    """
    counts = large.sum(1)
    rows = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    splits = {0, *(2**power for power in range(len(rows).bit_length()))}
    candidates = (
        [_make_index_block(large, rows[:split]), _make_index_block(large, rows[split:])]
        for split in splits
    )
    best = min(
        candidates, key=lambda index_blocks: sum(index_block.cost for index_block in index_blocks)
    )
    return [index_block for index_block in best if index_block.cost]


def _make_index_block(large: Tensor, rows: Tensor) -> IndexBlock:
    """The box of these rows and all columns in which one of them is large."""
    columns = large[rows].any(0).nonzero()[:, 0]
    (o, i), (r, c) = large.shape, (len(rows), len(columns))
    columns_first, rows_first = o * c * (i + r), r * i * (o + c)
    return IndexBlock(rows, columns, min(columns_first, rows_first), columns_first <= rows_first)
