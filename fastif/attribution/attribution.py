"""The answer to queries: influences, certificate and totals over slices."""

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
class Attribution:
    """What q queries owe to the training set, and how far to trust it.

    Attributes:
        influences: scored training examples, the most harmful first; none for a query that was
            quarantined.
        certificate: the evidence, one entry a query.
        totals: what each training example does to all queries of a slice; None unless it was asked
            for in a full scan.
    """

    influences: Influences
    certificate: Certificate
    totals: SliceTotals | None = None


def concat_attributions(answers: Sequence[Attribution]) -> Attribution:
    """One answer from those of some queries each."""
    if len(answers) == 1:
        return answers[0]
    totals = [answer.totals for answer in answers if answer.totals is not None]
    return Attribution(
        concat_influences([answer.influences for answer in answers]),
        concat_certificates([answer.certificate for answer in answers]),
        SliceTotals.concat(totals) if totals else None,
    )


def mask_quarantined(influences: Influences, quarantined: Tensor) -> Influences:
    """The same without the scores of some queries."""
    mask = quarantined[:, None]
    return replace(
        influences,
        ids=influences.ids.masked_fill(mask, NO_EXAMPLE),
        removal_effect=influences.removal_effect.masked_fill(mask, torch.inf),
        spread=None
        if influences.spread is None
        else influences.spread.masked_fill(mask, torch.inf),
    )


def attribute_by_sketches(search: SketchSearch, sketches: Float[Tensor, "q d"]) -> Attribution:
    """What `score_by_sketches` says of queries with these sketches."""
    influences, certificate = score_by_sketches(search, sketches)
    return Attribution(mask_quarantined(influences, certificate.quarantined), certificate)


def sketch_and_attribute(
    search: SketchSearch, objective: Objective, queries: Examples, ids: Tensor
) -> Attribution:
    """The same of queries that have no sketches yet."""
    sketches = compute_query_sketches(search.sketcher, Gradients(objective), queries, ids)
    return attribute_by_sketches(search, sketches)
