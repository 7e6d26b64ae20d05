"""Answers by sketches alone: a tier of their own, milliseconds a query."""

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.attribution.certificate import (
    NONFINITE_GRADIENT,
    Certificate,
    make_blank_certificate,
)
from fastif.attribution.influence import Influences
from fastif.candidates.retrieval import SketchSearch
from fastif.candidates.sketch_index import SketchIndex
from fastif.errors import InputError


def score_by_sketches(
    search: SketchSearch, sketches: Float[Tensor, "q d"]
) -> tuple[Influences, Certificate]:
    """The k most extreme of all training examples by their sketches, and these scores.

        removal_effect ≈ 1/n sketch(query)ᵀ sketch(train)

    Nothing is solved and no training gradient is taken, so the certificate has no residual; how
    well these scores agree with exact ones has to be measured on queries that are scanned in full.

    Args:
        search: of exact inner products.
        sketches: sketches of what is asked of the queries; zero for a gradient that is not finite.

    Raises:
        InputError: an approximate index, which does not give both ends with their products.
    """
    index = search.index
    if not isinstance(index, SketchIndex):
        raise InputError(
            "sketch scores", 'factory = "Flat"', "an approximate index", "Rescore its candidates."
        )
    ids, products = index.find_top_bottom(sketches, search.k - search.k // 2)
    position = torch.arange(ids.shape[1])
    kept = (position < search.k // 2) | (position >= ids.shape[1] - (search.k - search.k // 2))
    nonfinite = (sketches == 0).all(1).cpu()  # the sketch of a gradient that is not finite
    influences = Influences(ids[:, kept], products[:, kept] / index.count)
    return influences, _make_certificate(search, nonfinite)


def _make_certificate(search: SketchSearch, nonfinite: Tensor) -> Certificate:
    return make_blank_certificate(
        converged=~nonfinite,
        damping=search.sketcher.damping,
        reasons=tuple(NONFINITE_GRADIENT if bad else None for bad in nonfinite.tolist()),
        leverage="off: scores by sketches alone",
    )
