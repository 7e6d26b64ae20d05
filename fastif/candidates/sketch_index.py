"""Sketches at rest: searched block by block, never all in memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.faiss_index import Candidates, Index, join_ends
from fastif.errors import InputError
from fastif.numerics.top_bottom_k import TopBottomK

CHUNK_ROWS = 8192
"""Sketches that are made single precision at once."""


@dataclass(frozen=True, eq=False)
class SketchBlock:
    """Some sketches.

    Attributes:
        read: gives them, [m d] in half precision. It is called for each pass, and what it maps from
            a file is let go when the pass is over: pages that were read do not stay in the process.
        ids: positions in the training set, ascending.
        row_positions: the row of each of them.
    """

    read: Callable[[], Tensor]
    ids: Int[Tensor, " k"]
    row_positions: Int[Tensor, " k"]


@dataclass(frozen=True, eq=False)
class SketchIndex(Index):
    """All training sketches, in blocks of half precision; the search by inner product is exact.

    One pass over the blocks finds both ends of every query's products. What is held is one piece of
    a block in single precision and the ends found so far, whatever the number of rows.

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
        """Length of a sketch."""
        return self.blocks[0].read().shape[1]

    def iterate_chunks(self) -> Iterator[tuple[Int[Tensor, " b"], Float[Tensor, "b d"]]]:
        """Positions and sketches in single precision, a piece at a time."""
        for block in self.blocks:
            rows = block.read()
            chunks = zip(
                block.ids.split(CHUNK_ROWS), block.row_positions.split(CHUNK_ROWS), strict=True
            )
            for ids, row_positions in chunks:
                yield ids, _take_rows(rows, row_positions).float()

    def take(self, ids: Int[Tensor, " m"]) -> Float[Tensor, "m d"]:
        """The sketches of the training rows at these positions, in single precision."""
        sketches = torch.empty(len(ids), self.dimensions)
        for block in self.blocks:
            positions = torch.searchsorted(block.ids, ids).clamp_max(len(block.ids) - 1)
            in_block = block.ids[positions] == ids
            if bool(in_block.any()):
                sketches[in_block] = block.read()[block.row_positions[positions[in_block]]].float()
        return sketches

    def find_top_bottom(self, queries: Float[Tensor, "q d"], keep: int) -> tuple[Tensor, Tensor]:
        """Ids and products of the `keep` lowest and highest products of each query, ascending.

        Raises:
            InputError: the width of the queries does not fit.
        """
        self._check(queries, 1)
        queries, top_bottom = queries.float(), TopBottomK(len(queries), keep)
        for ids, rows in self.iterate_chunks():
            top_bottom.add(ids, queries @ rows.to(queries.device).T)
        return top_bottom.get_result()[:2]

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
            "Lower k, or make the sketches again from the same model.",
        )


def _take_rows(rows: Tensor, positions: Tensor) -> Tensor:
    """These rows; without a copy where they follow each other."""
    first = int(positions[0])
    if torch.equal(positions, torch.arange(first, first + len(positions))):
        return rows[first : first + len(positions)]
    return rows[positions]
