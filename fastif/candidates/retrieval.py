"""Where to look: all training examples, or those whose sketch or representation says so."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.class_quota import Quota
from fastif.candidates.faiss_index import Candidates, Index
from fastif.candidates.sketch import Sketcher, query_sketches
from fastif.data.examples import Examples, batches
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective


@dataclass(frozen=True)
class Nearest:
    """Score the k training examples whose representation is nearest to the query's.

    Attributes:
        index: of the training examples' representations, by distance.
        k: candidates a query.
        quota: what each label gets of them at least.
    """

    index: Index
    k: int
    quota: Quota | None = None


@dataclass(frozen=True)
class Sketched:
    """Score the k training examples at the ends of the query's scores by sketches.

    Attributes:
        index: of the training examples' sketches, by inner product.
        sketcher: what made them.
        k: half of them expected to harm most, half to help most.
        quota: what each label gets of them at least, half at either end.
        rescore: whether they are then scored exactly; if not, the scores by sketches are given.
    """

    index: Index
    sketcher: Sketcher
    k: int
    quota: Quota | None = None
    rescore: bool = True


@dataclass(frozen=True)
class United:
    """Score what any of several methods finds, each row once.

    Raises:
        InputError: there is no method.
    """

    of: Sequence[Nearest | Sketched]

    def __post_init__(self) -> None:
        if not self.of:
            raise InputError("a union of candidates", "one method or more", "none", "Add one.")


@dataclass(frozen=True)
class Everything:
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
    def exact(self) -> bool:
        """Whether scores are those of s_test itself, in full precision."""
        return not self.rounded and self.rank is None


Search = Nearest | Sketched | United | Everything


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
    if isinstance(search, United):
        return union([found_by(one, gradients, queries, ids, batch_size) for one in search.of])
    return found_by(search, gradients, queries, ids, batch_size)


def found_by(
    search: Nearest | Sketched,
    gradients: Gradients,
    queries: Examples,
    ids: Int[Tensor, " q"],
    batch_size: int = 32,
) -> Candidates:
    """What one method finds for each query."""
    return look_up(search, searched_rows(search, gradients, queries, ids, batch_size))


def searched_rows(
    search: Nearest | Sketched,
    gradients: Gradients,
    queries: Examples,
    ids: Int[Tensor, " q"],
    batch_size: int = 32,
) -> Float[Tensor, "q d"]:
    """What an index is asked with: the queries' sketches or representations."""
    if isinstance(search, Sketched):
        return query_sketches(search.sketcher, gradients, queries, ids, batch_size)
    return embeddings(gradients.objective, queries, ids, batch_size)


def look_up(search: Nearest | Sketched, rows: Float[Tensor, "q d"]) -> Candidates:
    """The candidates of queries with these rows."""
    index, quota, k = search.index, search.quota, search.k
    if isinstance(search, Sketched):
        return quota.search_ends(index, rows, k) if quota else index.search_ends(rows, k)
    return quota.search(index, rows, k) if quota else index.search(rows, k)


def union(found: Sequence[Candidates]) -> Candidates:
    """Each row once; the cells that become free are -1. Distances of different kinds are left out.

    >>> found = [Candidates(torch.tensor([ids]), None) for ids in ([5, 3], [3, 8])]
    >>> union(found).ids
    tensor([[8, 5, 3]])
    """
    ids = torch.cat([one.ids for one in found], 1).sort(1, descending=True).values
    twice = torch.zeros_like(ids, dtype=torch.bool)
    twice[:, 1:] = ids[:, 1:] == ids[:, :-1]
    ids = ids.masked_fill(twice, -1).sort(1, descending=True).values
    return Candidates(ids[:, : max(1, int((ids >= 0).sum(1).max()))], None)


def embeddings(
    objective: Objective, examples: Examples, ids: Int[Tensor, " m"], batch_size: int = 64
) -> Float[Tensor, "m d"]:
    """The final representation of the examples, in the order of `ids`."""
    places, rows = zip(
        *((places, objective.embed(batch)) for places, batch in batches(examples, ids, batch_size)),
        strict=True,
    )
    return torch.cat(rows)[torch.cat(places).argsort()]
