"""What a run and its plan ask of every kind of `[candidates]`, and of those with an index.

The text under a field is what a message says when the field is missing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from fastif.candidates import IndexSearch, Search
from tasks.study.errors import Problem, format_value
from tasks.study.fields import CheckCount, Name, Section
from tasks.study.index_cost import IndexCost, IndexProblem
from tasks.study.validation_errors import make_validation_error

K_GUESS_DIVISOR = 10
"""A tenth of the rows stands for a k that is yet to be chosen."""


class CandidateSection(Section):
    """`[candidates]`; a kind says in properties of these names what differs for it.

    A new kind is a subclass with a `kind`, and a row of `tasks.study.candidates.CANDIDATES`.
    """

    if TYPE_CHECKING:
        kind: Any  # a text; a field of each kind, and not in all of them the first

    @property
    def methods(self) -> "tuple[IndexSection, ...]":
        """The methods that search an index; none here."""
        return ()

    @property
    def methods_in_file(self) -> "Sequence[tuple[str, IndexSection]]":
        """The same, and where each stands in the study file."""
        return [("[candidates]", method) for method in self.methods]

    @property
    def checked_queries(self) -> int:
        """Queries that are scanned in full as well: the key `check`, 0 for a kind without it."""
        return getattr(self, "check", 0)

    @property
    def target_method(self) -> "IndexSection | None":
        """The method whose k is chosen by its recall; None if k is given."""
        return None

    @property
    def score_rank(self) -> int | None:
        """Directions of a linear layer that a query is held in for scoring; None for all."""
        return None

    @property
    def has_totals(self) -> bool:
        """Whether the sums of every training row's effects are kept, slice by slice."""
        return False

    @property
    def may_have_totals(self) -> bool:
        """Whether it keeps them, or the full scan that it falls back to if no k is enough."""
        return self.has_totals or any(method.k is None for method in self.methods)

    @property
    def has_sketch_scores(self) -> bool:
        """Whether scores are left as sketches give them, and nothing is solved."""
        return any(method.has_sketch_scores for method in self.methods)

    @property
    def requires_damping(self) -> bool:
        """Whether the damping must be > 0."""
        return any(method.requires_damping for method in self.methods)

    @property
    def may_reuse_queries(self) -> bool:
        """Whether the answer of one query stands alone, so that it can be taken over."""
        return not self.has_totals

    def count_kept_scores(self, rows: int) -> int:
        """Scores of one query that are kept; a guess where k is yet to be chosen.

        Args:
            rows: training rows.
        """
        return sum(method.count_candidates(rows) for method in self.methods)

    def estimate_distinct_candidates(self, rows: int, queries: int) -> float:
        """Distinct candidates of queries, who share them as if fewer had drawn them at random.

        Args:
            rows: training rows.
            queries: those that are answered together.
        """
        miss_rate = 1.0
        for method in self.methods:
            share = min(1.0, method.count_candidates(rows) / rows)
            miss_rate *= (1 - share) ** (queries**method.distinct_exponent)
        return rows * (1 - miss_rate)

    def make_search(self, rows: int, methods: Sequence[IndexSearch]) -> Search:
        """Where the attributor looks.

        Args:
            rows: training rows.
            methods: a search for each of `methods`, with its index.
        """
        (search,) = methods
        return search


class IndexSection(CandidateSection):
    """`[candidates]` of a kind that searches an index: `KnnSection` and `SketchSection`."""

    k: Annotated[int, Field(ge=1)] | None = None
    """candidates a query, at most the number of training rows"""
    target_recall: Annotated[float, Field(gt=0, le=1)] | None = None
    """in place of k: share of the top 100 that is to be found; the least k that does is chosen"""
    quota: Annotated[float, Field(gt=0, le=1)] | None = None
    """least share of k that each label of the training rows gets; without it none"""
    factory: Name = "Flat"
    """a FAISS index factory string"""
    check: CheckCount = 8
    """queries that are scanned in full as well, to tell what the candidates miss; 0: none"""

    distinct_exponent: ClassVar[float]
    """The candidates of q queries are as many as those of q to this power that have none in
    common. On 3,500 rows of the example 60 queries had 0.64 and 0.45 of the rows at k = 10 and 5 %
    by sketches (0.71 and 0.45 by this power), 0.81 by nearest rows at 5 %."""
    index_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that the vectors depend on beside the model; if any, they do on the curvature too."""
    by_products: ClassVar[bool]
    """Whether the index is asked for inner products, not for distances."""

    @property
    def methods(self) -> "tuple[IndexSection, ...]":
        """The methods that search: this one."""
        return (self,)

    @property
    def target_method(self) -> "IndexSection | None":
        """This one, unless k is given."""
        return None if self.target_recall is None else self

    @property
    def has_sketch_scores(self) -> bool:
        """Whether scores are left as the index gives them."""
        return False

    @property
    def requires_damping(self) -> bool:
        """Whether the vectors are divided by the damped curvature."""
        return bool(self.index_fields)

    def count_candidates(self, rows: int) -> int:
        """Candidates of one query; a guess where k is yet to be chosen."""
        return self.k or self.guess_k(rows)

    def guess_k(self, rows: int) -> int:
        """What stands for a k that is yet to be chosen."""
        return -(-rows // K_GUESS_DIVISOR)

    def estimate_index_cost(self, problem: IndexProblem) -> IndexCost:
        """What the index takes."""
        raise NotImplementedError(type(self).__name__)

    @model_validator(mode="after")
    def _check_k(self) -> Self:
        if self.k is None and self.target_recall is None:
            change = "add k = 100, or target_recall = 0.95"
            raise make_validation_error(Problem("k", "candidates a query", "nothing", change))
        if self.k is not None and self.target_recall is not None:
            expected, change = "no such key beside k", "remove it, or k"
            raise make_validation_error(
                Problem("target_recall", expected, format_value(self.target_recall), change)
            )
        if self.k is not None and self.quota is not None and self.quota * self.k < 1:
            expected = f"at least 1 / k = {1 / self.k:.2g}, a whole candidate"
            raise make_validation_error(
                Problem("quota", expected, f"{self.quota:g}", "raise it, or k")
            )
        return self
