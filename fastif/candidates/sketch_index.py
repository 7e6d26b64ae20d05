"""Exact inner-product search over stored sketches, block by block, with bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.blocked_search import CHUNK_ROWS, find_extremes, multiply
from fastif.candidates.faiss_index import Candidates, Index, join_ends
from fastif.errors import InputError


@dataclass(frozen=True, eq=False)
class SketchBlock:
    """Block of stored sketches.

    Attributes:
        read: Function that returns the block's sketches [m d] in half precision. It is called in
            each pass; a mapping from a file is released after the pass, so its pages leave the
            process.
        ids: Positions in the training set, ascending.
        row_positions: Row in the block of each of these positions.
    """

    read: Callable[[], Tensor]
    ids: Int[Tensor, " k"]
    row_positions: Int[Tensor, " k"]


@dataclass(frozen=True, eq=False)
class SketchIndex(Index):
    """Exact top-k and bottom-k search by inner product over blocks of sketches in half precision.

    One pass over the blocks covers all queries. Memory is one chunk in single precision and the
    current top-k and bottom-k, for any number of training examples.

    Examples:
        >>> rows = torch.tensor([[2.0], [-3.0], [0.1]]).half()
        >>> stored = SketchIndex([SketchBlock(lambda: rows, torch.arange(3), torch.arange(3))])
        >>> stored.search_top_bottom(torch.ones(1, 1), 2).ids
        tensor([[0, 1]])
    """

    blocks: Sequence[SketchBlock]

    @property
    def count(self) -> int:
        return sum(len(block.ids) for block in self.blocks)

    @property
    def dimensions(self) -> int:
        """Length d of a sketch."""
        return self.blocks[0].read().shape[1]

    def iterate_chunks(self) -> Iterator[tuple[Int[Tensor, " b"], Float[Tensor, "b d"]]]:
        """Yield positions and sketches in single precision, a chunk at a time."""
        for block in self.blocks:
            rows = block.read()
            chunks = zip(
                block.ids.split(CHUNK_ROWS), block.row_positions.split(CHUNK_ROWS), strict=True
            )
            for ids, row_positions in chunks:
                yield ids, _take_rows(rows, row_positions).float()

    def take(self, ids: Int[Tensor, " m"]) -> Float[Tensor, "m d"]:
        """Sketches [m d] of training examples at the given positions, in single precision."""
        sketches = torch.empty(len(ids), self.dimensions)
        for block in self.blocks:
            positions = torch.searchsorted(block.ids, ids).clamp_max(len(block.ids) - 1)
            in_block = block.ids[positions] == ids
            if bool(in_block.any()):
                sketches[in_block] = block.read()[block.row_positions[positions[in_block]]].float()
        return sketches

    def find_top_bottom(self, queries: Float[Tensor, "q d"], keep: int) -> tuple[Tensor, Tensor]:
        """Ids and inner products of the `keep` lowest and highest of each query, ascending.

        Raises:
            InputError: The width of the queries does not match the sketches.
        """
        self._check(queries, 1)
        return find_extremes(queries.float(), self.iterate_chunks(), keep, multiply)

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        self._check(queries, k)
        ids, products = self.find_top_bottom(queries, k)
        return Candidates(ids[:, -k:].flip(1), products[:, -k:].flip(1))

    def search_top_bottom(self, queries: Float[Tensor, "q d"], k: int) -> Candidates:
        self._check(queries, k)
        ids, _ = self.find_top_bottom(queries, k - k // 2)
        return join_ends(ids[:, -(k - k // 2) :].flip(1), ids[:, : k // 2])

    def _check(self, queries: Tensor, k: int) -> None:
        if 1 <= k <= self.count and queries.shape[1] == self.dimensions:
            return
        raise InputError(
            "candidate search",
            f"k from 1 to {self.count} and sketches of length {self.dimensions}",
            f"k = {k} and length {queries.shape[1]}",
            "Lower k, or recompute the sketches with the model of the queries.",
        )


def _take_rows(rows: Tensor, positions: Tensor) -> Tensor:
    """Select rows; a view where they are contiguous."""
    first = int(positions[0])
    if torch.equal(positions, torch.arange(first, first + len(positions))):
        return rows[first : first + len(positions)]
    return rows[positions]
