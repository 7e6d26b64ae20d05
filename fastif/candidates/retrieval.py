"""Searches: score the full training set, or candidates by representation or gradient sketch."""

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
    """Choice of the training examples to score for each query.

    Attributes:
        methods: Searches of a union; empty for a single search.
        keep: Number of scored examples kept at each end of the ranking; None for all.
        rank: Rank of s_test in each linear layer, see `ExhaustiveSearch`; None for full rank.
    """

    methods: "Sequence[IndexSearch]" = ()
    keep: int | None = None
    rank: int | None = None

    @abstractmethod
    def find_candidates(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Candidates | None:
        """Return the training examples to score for each query; None for all of them.

        Args:
            gradients: Per-example gradients of the model.
            queries: Examples to explain.
            ids: Positions of the queries; all by default.
        """

    @property
    def without_rescoring(self) -> "SketchSearch | None":
        """Search with sketch scores as the result; None if candidates are scored exactly."""
        return None


@dataclass(frozen=True)
class IndexSearch(Search):
    """Search for the k training examples that an index returns for a query's vector.

    Attributes:
        index: Index of one vector for each training example.
    """

    index: Index

    @abstractmethod
    def compute_query_vectors(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Float[Tensor, "q d"]:
        """Vectors [q d] of the queries, to search the index."""

    @abstractmethod
    def search_vectors(self, vectors: Float[Tensor, "q d"]) -> Candidates:
        """Candidates of queries with the given vectors."""

    def find_candidates(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Candidates:
        """Candidates of the queries."""
        return self.search_vectors(self.compute_query_vectors(gradients, queries, ids))


@dataclass(frozen=True)
class NearestNeighbors(IndexSearch):
    """kNN candidates: the k training examples nearest to the query in representation space.

    FastIF (Guo et al., 2021) selects candidates in this way.

    Attributes:
        index: Index of the training examples' representations (`compute_embeddings`), by L2
            distance.
        k: Number of candidates for each query.
        quota: Minimum share of each label among the candidates; None for no quota.

    Examples:
        >>> from fastif import CandidateIndex, CrossEntropy, Gradients, ModuleObjective
        >>> from fastif import TensorExamples
        >>> objective = ModuleObjective(torch.nn.Linear(1, 2), CrossEntropy())
        >>> train = TensorExamples([[0.0], [1.0], [5.0]], [0, 0, 1])
        >>> search = NearestNeighbors(CandidateIndex.build(compute_embeddings(objective, train)), 2)
        >>> search.find_candidates(Gradients(objective), train, torch.tensor([2])).ids
        tensor([[2, 1]])
    """

    k: int
    quota: ClassQuota | None = None

    def compute_query_vectors(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Float[Tensor, "q d"]:
        """Representations [q d] of the queries."""
        return compute_embeddings(gradients.objective, queries, ids, queries.batch_size)

    def search_vectors(self, vectors: Float[Tensor, "q d"]) -> Candidates:
        """Nearest neighbours of the given vectors."""
        index, quota, k = self.index, self.quota, self.k
        return quota.search(index, vectors, k) if quota else index.search(vectors, k)


@dataclass(frozen=True)
class SketchSearch(IndexSearch):
    """Gradient-sketch candidates: top-k and bottom-k by approximate removal effect.

    The inner product of two sketches approximates the removal effect times n, so the candidates are
    the examples that are predicted to harm and to help most.

    Attributes:
        index: Index of the training examples' sketches, by inner product.
        sketcher: Sketcher that computed these sketches, applied to the queries too.
        k: Number of candidates for each query, half at either end of the ranking.
        quota: Minimum share of each label among the candidates, half at either end; None for no
            quota.
        rescore: Whether candidates are scored exactly. If False, the scores are the inner products
            of sketches, in milliseconds for a query.

    Examples:
        >>> from fastif import CandidateIndex, CrossEntropy, GaussNewton, ModuleObjective
        >>> from fastif import TensorExamples
        >>> from fastif.candidates import GradientSketcher, compute_train_sketches
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> model.weight.data.zero_()
        tensor([[0.],
                [0.]])
        >>> train = TensorExamples([[1.0], [2.0], [3.0]], [0, 1, 0])
        >>> curvature = GaussNewton(ModuleObjective(model, CrossEntropy()), train)
        >>> sketcher = GradientSketcher.fit(curvature, damping=0.1)
        >>> sketches = compute_train_sketches(sketcher, curvature.gradients, train)
        >>> index = CandidateIndex.build(sketches, products=True)
        >>> search = SketchSearch(index, sketcher, k=2)  # the most helpful and the most harmful
        >>> search.find_candidates(curvature.gradients, train, torch.tensor([0])).ids
        tensor([[2, 1]])
    """

    sketcher: GradientSketcher
    k: int
    quota: ClassQuota | None = None
    rescore: bool = True

    @property
    def without_rescoring(self) -> "SketchSearch | None":
        """This search, if sketch scores are the result; None if candidates are scored exactly."""
        return None if self.rescore else self

    def compute_query_vectors(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Float[Tensor, "q d"]:
        """Sketches [q d] of the query gradients."""
        return compute_query_sketches(self.sketcher, gradients, queries, ids)

    def search_vectors(self, vectors: Float[Tensor, "q d"]) -> Candidates:
        """Top-k and bottom-k examples by inner product with the given sketches."""
        index, quota, k = self.index, self.quota, self.k
        return (
            quota.search_top_bottom(index, vectors, k)
            if quota
            else index.search_top_bottom(vectors, k)
        )


@dataclass(frozen=True)
class UnionSearch(Search):
    """Union of the candidates of several searches, each example scored once.

    Attributes:
        methods: Searches by index, one or more.

    Raises:
        InputError: There is no search.
    """

    methods: Sequence[IndexSearch]

    def __post_init__(self) -> None:
        if not self.methods:
            raise InputError(
                "a union of candidates", "one method or more", "none", "Add a search by index."
            )

    def find_candidates(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> Candidates:
        """Union of the searches' candidates for each query."""
        return unite_candidates(
            [method.find_candidates(gradients, queries, ids) for method in self.methods]
        )


@dataclass(frozen=True)
class ExhaustiveSearch(Search):
    """Full scan: score all training examples, and keep the top-k and bottom-k.

    Attributes:
        keep: Number of examples kept at each end of the ranking; None keeps all.
        rank: Rank to which s_test is truncated in each linear layer, see `LowRankScorer`; None for
            full rank. The certificate's `rounding` is the rank correlation with exact scores.

    Raises:
        InputError: The rank is below 1.
    """

    keep: int | None = None
    rank: int | None = None

    def __post_init__(self) -> None:
        if self.rank is not None and self.rank < 1:
            raise InputError(
                "rank", "1 or more, or None for full rank", f"{self.rank}", "Omit the rank."
            )

    def find_candidates(
        self, gradients: Gradients, queries: Examples, ids: Int[Tensor, " q"] | None = None
    ) -> None:
        """Return None: every training example is scored."""


def unite_candidates(candidate_sets: Sequence[Candidates]) -> Candidates:
    """Unite several sets of candidates for each query, without duplicates; free cells are -1.

    Distances are dropped, since those of different searches are not comparable.

    Examples:
        >>> sets = [Candidates(torch.tensor([ids]), None) for ids in ([5, 3], [3, 8])]
        >>> unite_candidates(sets).ids
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
    """Final-layer representations of the examples, for a search by nearest neighbours.

    The representation is the input of the last linear layer.

    Args:
        objective: Model of the examples.
        examples: Examples to represent.
        ids: Positions of m examples; all by default.
        batch_size: Number of examples in a forward pass, independent of the examples' own.

    Returns:
        Representations [m d], in the order of `ids`.

    Examples:
        >>> from fastif import CrossEntropy, ModuleObjective, TensorExamples
        >>> objective = ModuleObjective(torch.nn.Linear(2, 2), CrossEntropy())
        >>> compute_embeddings(objective, TensorExamples([[1.0, 2.0], [3.0, 4.0]], [0, 1]))
        tensor([[1., 2.],
                [3., 4.]])
    """
    positions, vectors = zip(
        *(
            (positions, objective.embed(batch))
            for positions, batch in examples.batches(ids, batch_size)
        ),
        strict=True,
    )
    return torch.cat(vectors)[torch.cat(positions).argsort()]
