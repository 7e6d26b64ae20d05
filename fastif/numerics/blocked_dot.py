"""Blocked inner products of vectors with millions of entries, without loss of precision.

A long sum in single precision loses digits without notice. Matrix libraries add a long product in
an order that is fast on the processor, some of them one number after the other: for two million
numbers, mostly of one sign, the measured relative error is 1e-5 to 1e-3, and it differs between one
vector and sixty. Sums over blocks take no more time, and leave about 5e-7 for any number of
vectors.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK_SIZE = 2**16
"""Number of entries summed in one block."""

HALF = (torch.bfloat16, torch.float16)


def pairwise_dots(left: Float[Tensor, "q p"], right: Float[Tensor, "b p"]) -> Float[Tensor, "q b"]:
    """Inner products ⟨left, right⟩ [q b] of all pairs of vectors.

    Half precision gives single precision: a product of two half-precision matrices is rounded to
    half precision at its end, so each block is, and blocks are summed in single precision.

    Examples:
        >>> pairwise_dots(torch.eye(2), torch.tensor([[3.0, 4.0]]))
        tensor([[3.],
                [4.]])
    """
    dtype = torch.float32 if left.dtype in HALF else left.dtype
    total = torch.zeros(len(left), len(right), dtype=dtype, device=left.device)
    for columns in _iterate_column_blocks(left):
        total += left[:, columns] @ right[:, columns].T
    return total


def row_dots(left: Float[Tensor, "q p"], right: Float[Tensor, "q p"]) -> Float[Tensor, " q"]:
    """Inner products ⟨left, right⟩ [q] of paired vectors, without a third matrix of this size.

    Examples:
        >>> row_dots(torch.eye(2), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
        tensor([3., 6.])
    """
    total = left.new_zeros(len(left))
    for columns in _iterate_column_blocks(left):
        total += torch.linalg.vecdot(left[:, columns], right[:, columns])
    return total


def row_norms(rows: Float[Tensor, "q p"]) -> Float[Tensor, " q"]:
    """Euclidean norms [q] of vectors.

    Examples:
        >>> row_norms(torch.tensor([[3.0, 4.0]]))
        tensor([5.])
    """
    return row_dots(rows, rows).sqrt_()


def _iterate_column_blocks(rows: Tensor) -> Iterator[slice]:
    for start in range(0, rows.shape[1], BLOCK_SIZE):
        yield slice(start, start + BLOCK_SIZE)
