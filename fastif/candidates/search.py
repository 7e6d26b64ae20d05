"""Where to look: all training examples, or those near to a query."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.index import CandidateIndex, Candidates
from fastif.examples import Examples, batches
from fastif.objective import Objective


@dataclass(frozen=True)
class Nearest:
    """Score the k training examples whose representation is nearest to the query's."""

    index: CandidateIndex
    k: int


@dataclass(frozen=True)
class Everything:
    """Score the full training set and keep the `keep` rows at each end; None keeps all."""

    keep: int | None = None


def candidates_of(
    search: Nearest | Everything, objective: Objective, queries: Examples, ids: Int[Tensor, " q"]
) -> Candidates | None:
    """The training examples to score for each query; None for all of them."""
    if isinstance(search, Everything):
        return None
    return search.index.search(embeddings(objective, queries, ids), search.k)


def embeddings(
    objective: Objective, examples: Examples, ids: Int[Tensor, " m"], batch_size: int = 64
) -> Float[Tensor, "m d"]:
    """The final representation of the examples, in the order of `ids`."""
    places, rows = zip(
        *((places, objective.embed(batch)) for places, batch in batches(examples, ids, batch_size)),
        strict=True,
    )
    return torch.cat(rows)[torch.cat(places).argsort()]
