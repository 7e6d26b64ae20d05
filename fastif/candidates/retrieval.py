"""Where to look: all training examples, or those whose sketch or representation says so."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.class_quota import ClassQuota
from fastif.candidates.faiss_index import Candidates, Index
from fastif.candidates.sketch import GradientSketcher, compute_query_sketches
from fastif.data.examples import Examples, batches
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective


@dataclass(frozen=True)
class NearestNeighbors:
    """Score the k training examples whose representation is nearest to the query's.

    Attributes:
        index: of the training examples' representations, by distance.
        k: candidates a query.
        quota: what each label gets of them at least.
    """

    index: Index
    k: int
    quota: ClassQuota | None = None


@dataclass(frozen=True)
class SketchSearch:
    """Score the k training examples at the ends of the query's scores by sketches.

    Attributes:
        index: of the training examples' sketches, by inner product.
        sketcher: what made them.
        k: half of them expected to harm most, half to help most.
        quota: what each label gets of them at least, half at either end.
        rescore: whether they are then scored exactly; if not, the scores by sketches are given.
    """

    index: Index
    sketcher: GradientSketcher
    k: int
    quota: ClassQuota | None = None
    rescore: bool = True


@dataclass(frozen=True)
class UnionSearch:
    """Score what any of several methods finds, each row once.

    Raises:
        InputError: there is no method.
    """

    methods: Sequence[NearestNeighbors | SketchSearch]

    def __post_init__(self) -> None:
        if not self.methods:
            raise InputError("a union of candidates", "one method or more", "none", "Add one.")


@dataclass(frozen=True)
class ExhaustiveSearch:
    """Score the full training set and keep the `keep` rows at each end; None keeps all.

    `rounded` scores in bfloat16, see `GradientScorer.rounded`; `rank` with s_test of so many
    directions a linear layer, see `LowRankScorer`. The certificate then says how much that changed
    the order of a control sample.

    Raises:
        InputError: a rank below 1, or both at once.
    """

    keep: int | None = None
    rounded: bool = False
    rank: int | None = None

    def __post_init__(self) -> None:
        if self.rank is None:
            return
        if self.rank < 1:
            raise InputError("rank", "1 or more, or None for all", f"{self.rank}", "Leave it out.")
        if self.rounded:
            raise InputError(
                "a full scan", "rounded scores or a rank", "both", "Leave one of them out."
            )

    @property
    def is_exact(self) -> bool:
        """Whether scores are those of s_test itself, in full precision."""
        return not self.rounded and self.rank is None


Search = NearestNeighbors | SketchSearch | UnionSearch | ExhaustiveSearch


def find_candidates(
    search: Search,
    gradients: Gradients,
    queries: Examples,
    ids: Int[Tensor, " q"],
    batch_size: int = 32,
) -> Candidates | None:
    """The training examples to score for each query; None for all of them."""
    if isinstance(search, ExhaustiveSearch):
        return None
    if isinstance(search, UnionSearch):
        return unite_candidates(
            [
                find_method_candidates(method, gradients, queries, ids, batch_size)
                for method in search.methods
            ]
        )
    return find_method_candidates(search, gradients, queries, ids, batch_size)


def find_method_candidates(
    search: NearestNeighbors | SketchSearch,
    gradients: Gradients,
    queries: Examples,
    ids: Int[Tensor, " q"],
    batch_size: int = 32,
) -> Candidates:
    """What one method finds for each query."""
    return search_index(search, compute_query_vectors(search, gradients, queries, ids, batch_size))


def compute_query_vectors(
    search: NearestNeighbors | SketchSearch,
    gradients: Gradients,
    queries: Examples,
    ids: Int[Tensor, " q"],
    batch_size: int = 32,
) -> Float[Tensor, "q d"]:
    """What an index is asked with: the queries' sketches or representations."""
    if isinstance(search, SketchSearch):
        return compute_query_sketches(search.sketcher, gradients, queries, ids, batch_size)
    return compute_embeddings(gradients.objective, queries, ids, batch_size)


def search_index(
    search: NearestNeighbors | SketchSearch, vectors: Float[Tensor, "q d"]
) -> Candidates:
    """The candidates of queries with these rows."""
    index, quota, k = search.index, search.quota, search.k
    if isinstance(search, SketchSearch):
        return (
            quota.search_top_bottom(index, vectors, k)
            if quota
            else index.search_top_bottom(vectors, k)
        )
    return quota.search(index, vectors, k) if quota else index.search(vectors, k)


def unite_candidates(candidate_sets: Sequence[Candidates]) -> Candidates:
    """Each row once; the cells that become free are -1. Distances of different kinds are left out.

    >>> found = [Candidates(torch.tensor([ids]), None) for ids in ([5, 3], [3, 8])]
    >>> unite_candidates(found).ids
    tensor([[8, 5, 3]])
    """
    ids = (
        torch.cat([candidates.ids for candidates in candidate_sets], 1)
        .sort(1, descending=True)
        .values
    )
    duplicates = torch.zeros_like(ids, dtype=torch.bool)
    duplicates[:, 1:] = ids[:, 1:] == ids[:, :-1]
    ids = ids.masked_fill(duplicates, -1).sort(1, descending=True).values
    return Candidates(ids[:, : max(1, int((ids >= 0).sum(1).max()))], None)


def compute_embeddings(
    objective: Objective, examples: Examples, ids: Int[Tensor, " m"], batch_size: int = 64
) -> Float[Tensor, "m d"]:
    """The final representation of the examples, in the order of `ids`."""
    positions, vectors = zip(
        *(
            (positions, objective.embed(batch))
            for positions, batch in batches(examples, ids, batch_size)
        ),
        strict=True,
    )
    return torch.cat(vectors)[torch.cat(positions).argsort()]
