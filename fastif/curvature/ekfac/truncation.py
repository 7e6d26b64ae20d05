"""Truncation of an eigenvalue grid to the blocks of rows and columns with its large entries."""

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class IndexBlock:
    """Submatrix of some rows and some columns.

    Attributes:
        rows, columns: Positions of the rows and of the columns.
        cost: Multiplications for projecting an o x i matrix onto these directions from both sides.
        columns_first: Whether that cost is reached by projecting columns before rows.
    """

    rows: Int[Tensor, " r"]
    columns: Int[Tensor, " c"]
    cost: int
    columns_first: bool


def find_dominant_blocks(large: Bool[Tensor, "o i"]) -> list[IndexBlock]:
    """Return at most two submatrices with disjoint rows that contain all large entries.

    The large entries of a matrix close to an outer product form a staircase: a few rows are large
    in nearly all columns, and most rows in a few columns only. One submatrix around them all would
    be nearly the whole matrix. The rows with most large entries are therefore split off, at the
    point with the lowest cost of projecting onto both.

    Examples:
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
    """Return the submatrix of these rows and of all columns with a large entry in one of them."""
    columns = large[rows].any(0).nonzero()[:, 0]
    (o, i), (r, c) = large.shape, (len(rows), len(columns))
    columns_first, rows_first = o * c * (i + r), r * i * (o + c)
    return IndexBlock(rows, columns, min(columns_first, rows_first), columns_first <= rows_first)
