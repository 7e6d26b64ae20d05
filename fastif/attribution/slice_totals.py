"""What each training example does to many queries together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SliceTotals:
    """Sums of removal effects over the queries of a slice, for every training example.

        effects[slice, train] = Σ removal_effect[query, train] over the queries of the slice

    They are taken while a full scan passes, from every score and not from those that are kept, so
    they hold many small effects that no query's ends show.

    Attributes:
        slices: number of the slice of each query.
        effects: the sums, in nats, in double precision; NaN for an example whose gradient is not
            finite. A score that is not finite counts as nothing: its query is quarantined.
    """

    slices: Int[Tensor, " q"]
    effects: Float[Tensor, "s n"]

    @classmethod
    def make_empty(
        cls, slices: Int[Tensor, " q"], slice_count: int, train_count: int
    ) -> "SliceTotals":
        """Nothing added yet, for so many slices and training examples."""
        return cls(slices, torch.full((slice_count, train_count), torch.nan, dtype=torch.float64))

    @classmethod
    def concat(cls, batches: "Sequence[SliceTotals]") -> "SliceTotals":
        """Of all queries, from those of some each."""
        slices = torch.cat([batch.slices for batch in batches])
        return cls(slices, torch.stack([batch.effects for batch in batches]).sum(0))

    def add(self, ids: Int[Tensor, " b"], scores: Float[Tensor, "q b"]) -> None:
        """Put in the scores of b more training examples."""
        finite_scores = scores.double().nan_to_num(0.0, 0.0, 0.0)
        sums = finite_scores.new_zeros(len(self.effects), len(ids))
        self.effects[:, ids] = sums.index_add_(0, self.slices.to(sums.device), finite_scores).cpu()
