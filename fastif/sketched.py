"""Answers by sketches alone: a tier of their own, milliseconds a query."""

import torch
from jaxtyping import Int
from torch import Tensor

from fastif.candidates.search import Sketched
from fastif.candidates.sketch import query_sketches
from fastif.candidates.stored import StoredSketches
from fastif.certificate import GRADIENT, Certificate
from fastif.errors import InputError
from fastif.examples import Examples
from fastif.gradients import Gradients
from fastif.influence import Influences


def answer_by_sketches(
    search: Sketched,
    gradients: Gradients,
    queries: Examples,
    ids: Int[Tensor, " q"],
    batch_size: int = 32,
) -> tuple[Influences, Certificate]:
    """The k most extreme of all training examples by their sketches, and these scores.

        removal_effect ≈ 1/n sketch(query)ᵀ sketch(train)

    Nothing is solved and no training gradient is taken, so the certificate has no residual; how
    well these scores agree with exact ones has to be measured on queries that are scanned in full.

    Args:
        search: of exact inner products.
        gradients: of the objective that the sketches were made of.
        queries: what is asked about.
        ids: positions of the queries.
        batch_size: queries whose gradients are taken at once.

    Raises:
        InputError: an approximate index, which does not give both ends with their products.
    """
    index = search.index
    if not isinstance(index, StoredSketches):
        raise InputError(
            "sketch scores", 'factory = "Flat"', "an approximate index", "Rescore its candidates."
        )
    rows = query_sketches(search.sketcher, gradients, queries, ids, batch_size)
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
    )
