"""Answers by sketches alone: a tier of their own, milliseconds a query."""

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.attribution.certificate import GRADIENT, Certificate
from fastif.attribution.influence import Influences
from fastif.candidates.retrieval import Sketched
from fastif.candidates.sketch_index import StoredSketches
from fastif.errors import InputError


def answer_by_sketches(
    search: Sketched, rows: Float[Tensor, "q d"]
) -> tuple[Influences, Certificate]:
    """The k most extreme of all training examples by their sketches, and these scores.

        removal_effect ≈ 1/n sketch(query)ᵀ sketch(train)

    Nothing is solved and no training gradient is taken, so the certificate has no residual; how
    well these scores agree with exact ones has to be measured on queries that are scanned in full.

    Args:
        search: of exact inner products.
        rows: sketches of what is asked of the queries; zero for a gradient that is not finite.

    Raises:
        InputError: an approximate index, which does not give both ends with their products.
    """
    index = search.index
    if not isinstance(index, StoredSketches):
        raise InputError(
            "sketch scores", 'factory = "Flat"', "an approximate index", "Rescore its candidates."
        )
    found, products = index.ends(rows, search.k - search.k // 2)
    middle = torch.arange(found.shape[1])
    kept = (middle < search.k // 2) | (middle >= found.shape[1] - (search.k - search.k // 2))
    broken = (rows == 0).all(1).cpu()  # the sketch of a gradient that is not finite
    influences = Influences(found[:, kept], products[:, kept] / index.count)
    return influences, _certificate(search, broken)


def _certificate(search: Sketched, broken: Tensor) -> Certificate:
    unknown = torch.full((len(broken),), torch.nan)
    return Certificate(
        residual=unknown,
        full_residual=None,
        converged=~broken,
        steps=0,
        damping=search.sketcher.damping,
        spread=None,
        gradient_norm=unknown,
        solution_norm=unknown,
        gradient_cosine=unknown,
        score_correlation=unknown,
        reasons=tuple(GRADIENT if bad else None for bad in broken.tolist()),
        dropped=torch.zeros(len(broken), dtype=torch.long),
        leverage="off: scores by sketches alone",
    )
