"""Attribution of queries: influences, certificate and totals over slices of queries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.attribution.certificate import Certificate, concat_certificates
from fastif.attribution.influence import (
    NO_EXAMPLE,
    Influences,
    concat_influences,
)
from fastif.attribution.influence_table import InfluenceTable, TabularResult
from fastif.attribution.sketch_scores import score_by_sketches
from fastif.attribution.slice_totals import SliceTotals
from fastif.candidates.retrieval import (
    SketchSearch,
)
from fastif.candidates.sketch import compute_query_sketches
from fastif.data.examples import Examples
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective


@dataclass(frozen=True, eq=False)
class Attribution(TabularResult):
    """Result of attributing q queries: influences, their certificate, and totals over slices.

    In a notebook it displays itself as a table, as `Influences` do.

    Attributes:
        influences: Scored training examples of each query, the most harmful first. A quarantined
            query has none.
        certificate: Evidence of how well each query was solved: residuals, convergence, damping.
        totals: Removal effects of every training example summed over the queries of each slice.
            None unless slices were given in a full scan.
    """

    influences: Influences
    certificate: Certificate
    totals: SliceTotals | None = None

    def as_table(self) -> InfluenceTable:
        count, converged = len(self.influences.ids), int(self.certificate.converged.sum())
        note = f"{converged} of {count} queries converged."
        reasons = [reason for reason in self.certificate.reasons if reason]
        note += f" {len(reasons)} have no effects: {reasons[0]}" if reasons else ""
        return replace(self.influences.as_table(), note=note)


def concat_attributions(answers: Sequence[Attribution]) -> Attribution:
    """Concatenate the attributions of batches of queries."""
    if len(answers) == 1:
        return answers[0]
    totals = [answer.totals for answer in answers if answer.totals is not None]
    return Attribution(
        concat_influences([answer.influences for answer in answers]),
        concat_certificates([answer.certificate for answer in answers]),
        SliceTotals.concat(totals) if totals else None,
    )


def mask_quarantined(influences: Influences, quarantined: Tensor) -> Influences:
    """Remove the scores of quarantined queries: ids become `NO_EXAMPLE`, effects infinite."""
    mask = quarantined[:, None]
    names = ("removal_effect", "spread", "ranking_score")
    columns = {name: getattr(influences, name) for name in names}
    masked = {
        name: None if column is None else column.masked_fill(mask, torch.inf)
        for name, column in columns.items()
    }
    return replace(influences, ids=influences.ids.masked_fill(mask, NO_EXAMPLE), **masked)


def attribute_by_sketches(search: SketchSearch, sketches: Float[Tensor, "q d"]) -> Attribution:
    """Attribute queries by inner products of gradient sketches alone, see `score_by_sketches`."""
    influences, certificate = score_by_sketches(search, sketches)
    return Attribution(mask_quarantined(influences, certificate.quarantined), certificate)


def sketch_and_attribute(
    search: SketchSearch, objective: Objective, queries: Examples, ids: Tensor
) -> Attribution:
    """Compute the sketches of queries, and attribute the queries by these sketches alone."""
    sketches = compute_query_sketches(search.sketcher, Gradients(objective), queries, ids)
    return attribute_by_sketches(search, sketches)
