"""Slice totals: removal effects of each training example summed over slices of queries."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.numerics.transfer import send


@dataclass(frozen=True, eq=False)
class SliceTotals:
    """Sums of removal effects over the queries of a slice, for every training example.

        effects[slice, train] = Σ removal_effect[query, train] over the queries of the slice

    The sums cover every score of a full scan, not only the top-k and bottom-k, so they include the
    many small effects that no ranking shows.

    Attributes:
        slices: Slice number [q] of each query, from 0.
        effects: Sums [s n] in nats, double precision; NaN for an example with a gradient that is
            not finite. A score that is not finite counts as 0: its query is quarantined.
    """

    slices: Int[Tensor, " q"]
    effects: Float[Tensor, "s n"]

    @classmethod
    def make_empty(
        cls, slices: Int[Tensor, " q"], slice_count: int, train_count: int
    ) -> "SliceTotals":
        """Return totals of NaN for the given numbers of slices and training examples."""
        return cls(slices, torch.full((slice_count, train_count), torch.nan, dtype=torch.float64))

    @classmethod
    def concat(cls, batches: "Sequence[SliceTotals]") -> "SliceTotals":
        """Concatenate the queries of several batches, and add their totals."""
        slices = torch.cat([batch.slices for batch in batches])
        return cls(slices, torch.stack([batch.effects for batch in batches]).sum(0))

    def add(self, ids: Int[Tensor, " b"], scores: Float[Tensor, "q b"]) -> None:
        """Add the scores [q b] of b more training examples."""
        self.write(ids, self.sum_slices(scores))

    def sum_slices(self, scores: Float[Tensor, "q b"]) -> Float[Tensor, "s b"]:
        """Return the sums of scores over the queries of each slice, on the device of the scores."""
        finite_scores = scores.double().nan_to_num(0.0, 0.0, 0.0)
        sums = finite_scores.new_zeros(len(self.effects), scores.shape[1])
        return sums.index_add_(0, send(self.slices, sums.device), finite_scores)

    def write(self, ids: Int[Tensor, " b"], sums: Float[Tensor, "s b"]) -> None:
        """Write the sums of b training examples."""
        self.effects[:, ids] = sums.cpu()
