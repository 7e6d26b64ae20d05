"""Where to look: all training examples, or those whose sketch or representation says so."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.class_quota import ClassQuota
from fastif.candidates.faiss_index import Candidates, Index
from fastif.candidates.sketch import GradientSketcher, compute_query_sketches
from fastif.data.examples import FORWARD_BATCH_SIZE, Examples
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective


class Search(ABC):
    """Where to look for the training examples to score.

    What a subclass answers differently it says by fields or properties of these names.

    Attributes:
        methods: the searches that it unites; none for one that stands alone.
        keep: of all that are scored, how many are kept at each end; None for all.
        rounded, rank: how a score may be less than exact, see `ExhaustiveSearch`.
    """

    methods: "Sequence[IndexSearch]" = ()
    keep: int | None = None
    rounded: bool = False
    rank: int | None = None

    @abstractmethod
    def find_candidates(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Candidates | None:
        """The training examples to score for each query; None for all of them.

        Args:
            gradients: of the model.
            queries: what is asked about.
            ids: positions of the queries, all by default.
        """

    @property
    def is_exact(self) -> bool:
        """Whether scores are those of s_test itself, in full precision."""
        return not self.rounded and self.rank is None

    @property
    def without_rescoring(self) -> "SketchSearch | None":
        """The search whose scores by sketches are the answer; None if candidates are scored."""
        return None


@dataclass(frozen=True)
class IndexSearch(Search):
    """Score the k training examples that an index gives for a query's vector.

    Attributes:
        index: of one vector for each training example.
    """

    index: Index

    @abstractmethod
    def compute_query_vectors(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Float[Tensor, "q d"]:
        """What the index is asked with."""

    @abstractmethod
    def search_vectors(self, vectors: Float[Tensor, "q d"]) -> Candidates:
        """The candidates of queries with these vectors."""

    def find_candidates(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Candidates:
        """What the index gives for each query."""
        return self.search_vectors(self.compute_query_vectors(gradients, queries, ids))


@dataclass(frozen=True)
class NearestNeighbors(IndexSearch):
    """Score the k training examples whose representation is nearest to the query's.

    Attributes:
        index: of the training examples' representations, by distance.
        k: candidates a query.
        quota: what each label gets of them at least.
    """

    k: int
    quota: ClassQuota | None = None

    def compute_query_vectors(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Float[Tensor, "q d"]:
        """The queries' representations."""
        return compute_embeddings(gradients.objective, queries, ids, queries.batch_size)

    def search_vectors(self, vectors: Float[Tensor, "q d"]) -> Candidates:
        """The nearest to these vectors."""
        index, quota, k = self.index, self.quota, self.k
        return quota.search(index, vectors, k) if quota else index.search(vectors, k)


@dataclass(frozen=True)
class SketchSearch(IndexSearch):
    """Score the k training examples at the ends of the query's scores by sketches.

    Attributes:
        index: of the training examples' sketches, by inner product.
        sketcher: what made them.
        k: half of them expected to harm most, half to help most.
        quota: what each label gets of them at least, half at either end.
        rescore: whether they are then scored exactly; if not, the scores by sketches are given.
    """

    sketcher: GradientSketcher
    k: int
    quota: ClassQuota | None = None
    rescore: bool = True

    @property
    def without_rescoring(self) -> "SketchSearch | None":
        """Itself, unless candidates are scored exactly."""
        return None if self.rescore else self

    def compute_query_vectors(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Float[Tensor, "q d"]:
        """The queries' sketches."""
        return compute_query_sketches(self.sketcher, gradients, queries, ids)

    def search_vectors(self, vectors: Float[Tensor, "q d"]) -> Candidates:
        """Those at both ends of the products with these sketches."""
        index, quota, k = self.index, self.quota, self.k
        return (
            quota.search_top_bottom(index, vectors, k)
            if quota
            else index.search_top_bottom(vectors, k)
        )


@dataclass(frozen=True)
class UnionSearch(Search):
    """Score what any of several methods finds, each row once.

    Raises:
        InputError: there is no method.
    """

    methods: Sequence[IndexSearch]

    def __post_init__(self) -> None:
        if not self.methods:
            raise InputError("a union of candidates", "one method or more", "none", "Add one.")

    def find_candidates(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Candidates:
        """What any of the methods finds for each query."""
        return unite_candidates(
            [method.find_candidates(gradients, queries, ids) for method in self.methods]
        )


@dataclass(frozen=True)
class ExhaustiveSearch(Search):
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

    def find_candidates(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> None:
        """None: every training example is scored."""


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
    objective: Objective,
    examples: Examples,
    ids: Int[Tensor, " m"] | None = None,
    batch_size: int = FORWARD_BATCH_SIZE,
) -> Float[Tensor, "m d"]:
    """The final representation of the examples, in the order of `ids`; of all if left out.

    `batch_size` is that of a forward pass, which holds no gradients, and not the examples' own.
    """
    positions, vectors = zip(
        *(
            (positions, objective.embed(batch))
            for positions, batch in examples.batches(ids, batch_size)
        ),
        strict=True,
    )
    return torch.cat(vectors)[torch.cat(positions).argsort()]
