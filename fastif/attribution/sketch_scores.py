"""Scores by inner products of gradient sketches, without solve and training gradients."""

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
    """Top-k and bottom-k training examples by the inner products of gradient sketches.

        removal_effect ≈ 1/n sketch(query)ᵀ sketch(train)

    Nothing is solved and no training gradient is computed, so the certificate has no residual.
    Measure the agreement with exact scores on queries that are scanned in full.

    Args:
        search: Search with an exact index of inner products (`factory = "Flat"`).
        sketches: Sketches [q d] of the query gradients; zero for a gradient that is not finite.

    Raises:
        InputError: The index is approximate; it does not return the top-k and bottom-k products.
    """
    index = search.index
    if not isinstance(index, SketchIndex):
        raise InputError(
            "sketch scores",
            'an exact index, factory = "Flat"',
            "an approximate index",
            'Set rescore = true, or factory = "Flat".',
        )
    ids, products = index.find_top_bottom(sketches, search.k - search.k // 2)
    position = torch.arange(ids.shape[1])
    kept = (position < search.k // 2) | (position >= ids.shape[1] - (search.k - search.k // 2))
    nonfinite = (sketches == 0).all(1).cpu()  # a gradient that is not finite has a zero sketch
    influences = Influences(ids[:, kept], products[:, kept] / index.count)
    return influences, _make_certificate(search, nonfinite)


def _make_certificate(search: SketchSearch, nonfinite: Tensor) -> Certificate:
    return make_blank_certificate(
        converged=~nonfinite,
        damping=search.sketcher.damping,
        reasons=tuple(NONFINITE_GRADIENT if bad else None for bad in nonfinite.tolist()),
        leverage="off: scores by sketches alone",
    )
