"""Top-k and bottom-k inner products with stored sketches in two passes: short heads, then exact."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.sketch_index import SketchIndex
from fastif.errors import InputError

HEAD_LENGTH = 64
"""Maximum length of a head, the part of a sketch that the first pass multiplies."""
SAMPLE_ROWS = 8192
"""Number of sketches whose second moment gives the directions of the heads."""
RANKED = 1024
"""Number of rows with the highest, and with the lowest heads, whose products are exact."""
GROUP, PART_ROWS = 64, 256
"""Sizes of groups of values and of parts of rows that are computed at once."""
SCANNED_ROWS = 4096
"""Number of rows up to which every product is exact."""


@dataclass(frozen=True, eq=False)
class SketchHits:
    """Training examples of each query by the inner products of sketches.

    Attributes:
        ids: Positions [q m] of the k lowest and the k highest products, ascending.
        products: Inner products [q m] with these rows.
        near: Positions [q r] of the sketches with the highest cosine, descending.
        cosines: Cosines [q r] with these rows.
        k: Number of rows at each end.
    """

    ids: Int[Tensor, "q m"]
    products: Float[Tensor, "q m"]
    near: Int[Tensor, "q r"]
    cosines: Float[Tensor, "q r"]
    k: int


@dataclass(frozen=True, eq=False)
class HeadIndex:
    """Search for the top-k and bottom-k inner products, in two passes and bounded memory.

    The heads of the sketches are their first principal components, in bfloat16. The first pass
    multiplies the heads of all rows; the second computes the products of the whole sketches, in
    double precision, for the rows that are highest and lowest in the first. Every returned product
    is exact; a row may be missed, so measure the recall (`measure_recall`). Small tables take the
    second pass alone.

    Attributes:
        sketches: Stored sketches; blocks are mapped from files, and stay mapped.
        directions: Directions [d h] of the heads.
        heads: Heads [n h] of all rows; None if the table is small.
        inverse_norms: Inverse lengths [n] of the sketches; 0 of a sketch of zeros.
        blocks: Number of the block of each row, [n].
        places: Row in that block, [n].

    Examples:
        >>> from fastif.candidates.sketch_index import SketchBlock
        >>> rows = torch.tensor([[2.0], [-3.0], [0.1]]).half()
        >>> index = HeadIndex.build(
        ...     SketchIndex([SketchBlock(lambda: rows, torch.arange(3), torch.arange(3))])
        ... )
        >>> index.search(torch.ones(1, 1), 1, near=1).ids
        tensor([[1, 0]])
    """

    sketches: SketchIndex
    directions: Float[Tensor, "d h"]
    heads: Float[Tensor, "n h"] | None
    inverse_norms: Float[Tensor, " n"]
    blocks: Int[Tensor, " n"]
    places: Int[Tensor, " n"]

    @classmethod
    def build(cls, sketches: SketchIndex, length: int = HEAD_LENGTH) -> "HeadIndex":
        """Compute the heads in one pass over the stored sketches.

        Args:
            sketches: Stored sketches of all training rows.
            length: Maximum length of a head.
        """
        count, dimensions = sketches.count, sketches.dimensions
        directions, heads = torch.zeros(dimensions, min(length, dimensions)), None
        if count > SCANNED_ROWS:
            sample = sketches.take(torch.arange(0, count, -(-count // SAMPLE_ROWS)))
            directions = _find_principal_directions(sample, min(length, dimensions))
            heads = torch.empty(count, directions.shape[1], dtype=torch.bfloat16)
        norms = torch.empty(count)
        blocks, places = torch.empty(2, count, dtype=torch.int32)
        for number, block in enumerate(sketches.blocks):
            blocks[block.ids], places[block.ids] = number, block.row_positions.int()
        for ids, rows in sketches.iterate_chunks():
            norms[ids] = rows.norm(dim=1)
            if heads is not None:
                heads[ids] = (rows @ directions).bfloat16()
        inverse = torch.where(norms > 0, 1 / norms, 0)
        return cls(sketches, directions, heads, inverse, blocks, places)

    @property
    def count(self) -> int:
        """Number of training rows."""
        return len(self.blocks)

    @property
    def is_exact(self) -> bool:
        """Whether every row takes part in the exact pass."""
        return self.heads is None

    @cached_property
    def _mapped(self) -> Sequence[Tensor]:
        return [block.read() for block in self.sketches.blocks]

    def search(self, queries: Float[Tensor, "q d"], k: int, near: int = 0) -> SketchHits:
        """Return the k lowest and the k highest products, and the `near` highest cosines.

        Args:
            queries: Sketches of the queries.
            k: Number of rows at each end; all rows if the table has fewer than 2 k.
            near: Number of rows by cosine.

        Raises:
            InputError: The sketches have another length, or k is not from 1 to `RANKED`.
        """
        dimensions = self.sketches.dimensions
        if not 1 <= k <= RANKED or not 0 <= near <= RANKED or queries.shape[1] != dimensions:
            raise InputError(
                "lookup",
                f"1 to {RANKED:,} rows and sketches of length {dimensions}",
                f"{k} rows, {near} neighbours and length {queries.shape[1]}",
                "Ask for fewer rows, or sketch the query with the sketcher of the rows.",
            )
        queries = queries.float().cpu()
        ranked = self._rank_heads(queries)
        hits = [
            self._rank_exactly(query, ids, k, near)
            for query, ids in zip(queries, ranked, strict=True)
        ]
        ids, products, nearest, cosines = (
            torch.stack(column) for column in zip(*hits, strict=True)
        )
        return SketchHits(ids, products, nearest, cosines, k)

    def take(self, ids: Int[Tensor, " m"]) -> Float[Tensor, "m d"]:
        """Sketches [m d] at the given positions, in half precision."""
        rows = torch.empty(len(ids), self.sketches.dimensions, dtype=torch.float16)
        numbers, order = self.blocks[ids].sort(stable=True)
        numbers, counts = numbers.unique_consecutive(return_counts=True)
        for number, group in zip(numbers.tolist(), order.split(counts.tolist()), strict=True):
            rows[group] = self._mapped[number][self.places[ids[group]].long()]
        return rows

    def measure_recall(self, k: int, queries: int = 32, seed: int = 0) -> float:
        """Share of the true k lowest and k highest products that a search returns.

        Sketches of random training rows are the queries; the truth is a search of all rows.
        """
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randperm(self.count, generator=generator)[:queries]
        sketches, k = self.take(ids).float(), min(k, self.count)
        truth = self.sketches.find_top_bottom(sketches, k)[0]
        ids = self.search(sketches, k).ids
        shares = [
            torch.isin(row, hits).float().mean() for row, hits in zip(truth, ids, strict=True)
        ]
        return float(torch.stack(shares).mean())

    def _rank_heads(self, queries: Tensor) -> Sequence[Tensor]:
        """Positions whose products are computed exactly, ascending, for each query."""
        if self.heads is None:
            return [torch.arange(self.count)] * len(queries)
        ranked = []
        for query_head in (queries @ self.directions).bfloat16():
            row = (self.heads @ query_head).float()
            columns = (row, -row, row * self.inverse_norms)
            ranked.append(torch.cat([_find_top(column, RANKED) for column in columns]).unique())
        return ranked

    def _rank_exactly(self, query: Tensor, ids: Tensor, k: int, near: int) -> tuple[Tensor, ...]:
        """Ids and products of the top-k and bottom-k, and ids and cosines of the nearest."""
        rows = self.take(ids)
        products = torch.cat([part.float() @ query for part in rows.split(PART_ROWS)])
        order = products.argsort(stable=True)  # ids ascend, so that equal products do by id
        kept = order if len(order) <= 2 * k else torch.cat([order[:k], order[-k:]])
        nearest = (-products * self.inverse_norms[ids]).argsort(stable=True)[:near]
        kept, exact = _sort(kept, rows[kept].double() @ query.double())
        length = query.double().norm().clamp_min(1e-300)
        cosines = (
            rows[nearest].double() @ query.double() * self.inverse_norms[ids[nearest]] / length
        )
        nearest, negative = _sort(nearest, -cosines)
        return ids[kept], exact.float(), ids[nearest], -negative.float()


def _sort(places: Int[Tensor, " m"], values: Tensor) -> tuple[Int[Tensor, " m"], Tensor]:
    """Sort places by their values, ascending; equal values by place."""
    places, order = places.sort()
    values, by_value = values[order].sort(stable=True)
    return places[by_value], values


def _find_top(values: Float[Tensor, " n"], k: int) -> Int[Tensor, " k"]:
    """Positions of the k largest values, unordered; in groups, since the largest are in few.

    >>> _find_top(torch.tensor([3.0, 1.0, 2.0]), 2).sort().values
    tensor([0, 2])
    """
    whole = len(values) // GROUP * GROUP
    if whole < 2 * GROUP * k:
        return values.topk(min(k, len(values)), sorted=False).indices
    groups = values[:whole].view(-1, GROUP)
    numbers = groups.amax(1).topk(k, sorted=False).indices
    places = (numbers[:, None] * GROUP + torch.arange(GROUP)).flatten()
    places = torch.cat([places, torch.arange(whole, len(values))])
    return places[values[places].topk(k, sorted=False).indices]


def _find_principal_directions(sample: Float[Tensor, "m d"], length: int) -> Float[Tensor, "d h"]:
    """Principal directions [d h] of the second moment of sketches, those of most energy."""
    moment = (sample.T @ sample / len(sample)).double()
    return torch.linalg.eigh(moment).eigenvectors[:, -length:].float().contiguous()
