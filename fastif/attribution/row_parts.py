"""Parts of the training rows of one scan that several processes share, and their merged result."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.influence import Influences
from fastif.attribution.slice_totals import SliceTotals


@dataclass(frozen=True, eq=False)
class ScannedPart:
    """Best scores among a part of the training rows, for all queries of a scan.

    Attributes:
        influences: Scored examples of each query.
        totals: Sums over slices [s n], NaN for rows of other parts; None without slices.
    """

    influences: Influences
    totals: Float[Tensor, "s n"] | None = None

    def add_totals(self, totals: SliceTotals) -> None:
        """Write the sums of this part to the totals of the scan."""
        assert self.totals is not None, "all parts have the slices of the scan"
        known = ~torch.isnan(self.totals)
        totals.effects[known] = self.totals[known]


@dataclass(frozen=True, eq=False)
class RowParts:
    """Part of the batches of a scan to compute, and parts that were computed elsewhere.

    Attributes:
        count: Number of parts; batch b belongs to part b modulo this number.
        places: Parts to compute.
        scanned: Results of other parts.
    """

    count: int = 1
    places: tuple[int, ...] = (0,)
    scanned: Sequence[ScannedPart] = ()

    @property
    def is_whole(self) -> bool:
        """Whether all batches are computed here."""
        return len(self.places) == self.count

    def fits(self, queries: int) -> bool:
        """Whether the results of other parts are of this number of queries."""
        return all(len(part.influences.ids) == queries for part in self.scanned)

    def select(self, buckets: Iterable[Int[Tensor, " b"]]) -> list[Int[Tensor, " b"]]:
        """Return the batches to compute.

        Examples:
            >>> RowParts(3, (0, 2)).select(torch.arange(4).split(1))
            [tensor([0]), tensor([2]), tensor([3])]
        """
        return [
            bucket for number, bucket in enumerate(buckets) if number % self.count in self.places
        ]


WHOLE = RowParts()
"""All rows, computed here."""
