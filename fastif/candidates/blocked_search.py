"""Exact search over blocks of vectors: one product a block, with running top-k and bottom-k."""

from collections.abc import Callable, Iterable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.numerics.top_bottom_k import TopBottomK

CHUNK_ROWS = 8192
"""Number of vectors that are converted and multiplied at once."""

MAX_PRODUCTS = 2**24
"""Number of products of queries and vectors held at once; more queries take smaller blocks."""

ROUNDING = 64 * torch.finfo(torch.float64).eps
"""Rounding of a squared distance, relative to the squared lengths of both vectors."""

Block = tuple[Int[Tensor, " b"], Float[Tensor, "b d"]]
Compare = Callable[[Float[Tensor, "q d"], Float[Tensor, "b d"]], Float[Tensor, "q b"]]


def find_extremes(
    queries: Float[Tensor, "q d"], blocks: Iterable[Block], keep: int, compare: Compare
) -> tuple[Int[Tensor, "q m"], Float[Tensor, "q m"]]:
    """Ids and values of the `keep` lowest and highest vectors of each query, ascending.

    Blocks are copied to the device of the queries one after the other, and equal values are ordered
    by id, so the result does not depend on the blocks.

    Args:
        queries: Vectors [q d].
        blocks: Ids [b] and vectors [b d] of each block.
        keep: Number of vectors kept at either end.
        compare: Function of queries and vectors that returns their values [q b].
    """
    top_bottom = TopBottomK(len(queries), keep)
    for ids, rows in blocks:
        top_bottom.add(ids, compare(queries, rows.to(queries.device)))
    return top_bottom.get_result()[:2]


def multiply(queries: Float[Tensor, "q d"], rows: Float[Tensor, "b d"]) -> Float[Tensor, "q b"]:
    """Inner products in the precision of the queries."""
    return queries @ rows.T


def search_nearest(
    queries: Float[Tensor, "q d"], rows: Float[Tensor, "n d"], k: int, *, products: bool
) -> tuple[Int[Tensor, "q k"], Float[Tensor, "q k"]]:
    """Ids and distances of the k nearest vectors on the device of the queries, like `IndexFlat`.

    Products are computed in double precision and rounded to single precision, so that equal vectors
    are ordered by id, also where torch shortens the mantissas of single precision. A vector whose
    distance overflows single precision leaves an empty cell of id -1.

    Args:
        queries: Finite vectors [q d].
        rows: Finite vectors [n d], on any device.
        k: Number of vectors, 1 to n.
        products: Whether to search for the largest inner products instead of the smallest squared
            distances.

    Examples:
        >>> search_nearest(torch.zeros(1, 1), torch.tensor([[3.0], [-2.0]]), 1, products=False)
        (tensor([[1]]), tensor([[4.]]))
    """
    centre = torch.zeros_like(rows[0]) if products else rows[:CHUNK_ROWS].mean(0)
    centre = centre.to(queries.device).double()

    def compare(queries: Tensor, block: Tensor) -> Tensor:
        shifted = block.double() - centre
        return (
            -multiply(queries, shifted) if products else _compute_distances(queries, shifted)
        ).float()

    blocks = _split_rows(rows, max(1, min(CHUNK_ROWS, MAX_PRODUCTS // max(1, len(queries)))))
    ids, values = find_extremes(queries.double() - centre, blocks, k, compare)
    ids, values = ids[:, :k], values[:, :k]
    overflowed = values == torch.inf
    values = values.masked_fill(overflowed, torch.finfo(values.dtype).max)
    return ids.masked_fill(overflowed, -1), -values if products else values


def _split_rows(rows: Float[Tensor, "n d"], size: int) -> Iterator[Block]:
    yield from zip(torch.arange(len(rows)).split(size), rows.split(size), strict=True)


def _compute_distances(
    queries: Float[Tensor, "q d"], rows: Float[Tensor, "b d"]
) -> Float[Tensor, "q b"]:
    """Squared distances by norms and products; those within rounding are 0."""
    scale = queries.square().sum(1)[:, None] + rows.square().sum(1)
    distances = scale - 2 * multiply(queries, rows)
    return distances.masked_fill_(distances <= ROUNDING * scale, 0.0)
