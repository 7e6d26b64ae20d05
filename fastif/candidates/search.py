"""Where to look: all training examples, or those whose sketch or representation says so."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.index import CandidateIndex, Candidates
from fastif.candidates.sketch import Sketcher, query_sketches
from fastif.examples import Examples, batches
from fastif.gradients import Gradients
from fastif.objective import Objective


@dataclass(frozen=True)
class Nearest:
    """Score the k training examples whose representation is nearest to the query's."""

    index: CandidateIndex
    k: int


@dataclass(frozen=True)
class Sketched:
    """Score the k training examples at the ends of the query's scores by sketches.

    Attributes:
        index: of the training examples' sketches, by inner product.
        sketcher: what made them.
        k: half of them expected to harm most, half to help most.
    """

    index: CandidateIndex
    sketcher: Sketcher
    k: int


@dataclass(frozen=True)
class Everything:
    """Score the full training set and keep the `keep` rows at each end; None keeps all."""

    keep: int | None = None


Search = Nearest | Sketched | Everything


def candidates_of(
    search: Search,
    gradients: Gradients,
    queries: Examples,
    ids: Int[Tensor, " q"],
    batch_size: int = 32,
) -> Candidates | None:
    """The training examples to score for each query; None for all of them."""
    if isinstance(search, Everything):
        return None
    if isinstance(search, Sketched):
        rows = query_sketches(search.sketcher, gradients, queries, ids, batch_size)
        return search.index.search_ends(rows, search.k)
    rows = embeddings(gradients.objective, queries, ids, batch_size)
    return search.index.search(rows, search.k)


def embeddings(
    objective: Objective, examples: Examples, ids: Int[Tensor, " m"], batch_size: int = 64
) -> Float[Tensor, "m d"]:
    """The final representation of the examples, in the order of `ids`."""
    places, rows = zip(
        *((places, objective.embed(batch)) for places, batch in batches(examples, ids, batch_size)),
        strict=True,
    )
    return torch.cat(rows)[torch.cat(places).argsort()]
