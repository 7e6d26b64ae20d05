"""Full scan of the effects on boosted trees: extreme rows of each query, and totals of slices."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.attribution.attribution import Attribution, mask_quarantined
from fastif.attribution.certificate import make_blank_certificate
from fastif.attribution.influence import Influences
from fastif.attribution.slice_totals import SliceTotals
from fastif.numerics.top_bottom_k import top_bottom_k
from fastif.trees.tree_attributor import TreeAttributor
from fastif.trees.tree_objective import ScoreMeasure, TreeObjective, TreeRows

NOT_FINITE = (
    "Its effects are not finite. Look for extreme numbers in its target, or a prediction that is "
    "certain and wrong."
)
"""Reason why a query is quarantined, with the remedy."""


@dataclass(frozen=True, eq=False)
class TreeScan:
    """Effects of all training rows on queries under boosted trees, a tile of queries at a time.

    No q x n matrix is held: of each tile the extreme rows and the sums over slices remain. No
    linear system is solved, so the certificate has only the quarantined queries.

    Attributes:
        objective: Trees with their repeated training, and the measure of queries.
        method: Method of `TreeAttributor`.
        keep: Number of rows kept at each end of a query; all if None.
        memory_gb: Memory of a tile.
    """

    objective: TreeObjective
    method: str = "leaf-influence"
    keep: int | None = None
    memory_gb: float = 1.0

    @cached_property
    def attributor(self) -> TreeAttributor:
        """Attributor of the ensemble, with the measure of the objective."""
        measure = ScoreMeasure(self.objective, self.objective.query_measure)
        return TreeAttributor(self.objective.training, self.method, measure, self.memory_gb)

    def __call__(
        self,
        queries: TreeRows,
        ids: Int[Tensor, " q"],
        slices: Int[Tensor, " q"] | None = None,
    ) -> Attribution:
        """Attribute the queries at the given positions.

        Args:
            queries: Rows to explain, as those of training.
            ids: Positions of q queries.
            slices: Slice number [q] of each query, from 0; with it totals are returned.

        Raises:
            InputError: A target cannot be measured.
        """
        count = len(self.objective.training)
        every = torch.arange(count)
        width = count if self.keep is None else min(2 * self.keep, count)
        # In single precision, as they are stored, so that equal numbers are ordered by position.
        places, values = [torch.empty(0, width).long()], [torch.empty(0, width)]
        finite, start, totals = [torch.empty(0).bool()], 0, _make_totals(slices, count)
        for effects in self.attributor.iterate_effects(queries.rows[ids], queries.labels[ids]):
            single = effects.float()
            order = top_bottom_k(every.expand(len(effects), -1), single, self.keep)
            places.append(order)
            values.append(single.gather(1, order))
            finite.append(single.isfinite().all(1))
            if totals is not None:
                _add_totals(totals, start, effects, finite[-1])
            start += len(effects)
        is_finite = torch.cat(finite)
        reasons = tuple(None if flag else NOT_FINITE for flag in is_finite.tolist())
        influences = mask_quarantined(Influences(torch.cat(places), torch.cat(values)), ~is_finite)
        return Attribution(
            influences, make_blank_certificate(is_finite, torch.nan, reasons), totals
        )


def _make_totals(slices: Int[Tensor, " q"] | None, count: int) -> SliceTotals | None:
    if slices is None:
        return None
    number = int(slices.max()) + 1 if len(slices) else 0
    return SliceTotals(slices, torch.zeros(number, count).double())


def _add_totals(
    totals: SliceTotals, start: int, effects: Float[Tensor, "b n"], finite: Bool[Tensor, " b"]
) -> None:
    """Add the effects on a tile of queries to their slices; quarantined queries count as 0."""
    own = totals.slices[start : start + len(effects)]
    totals.effects.index_add_(0, own, effects.masked_fill(~finite[:, None], 0.0))
