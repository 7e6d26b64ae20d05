"""Interface of the kinds of `[candidates]`, and base class of those with an index.

The docstring of a field is shown in the error message when the field is missing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from tasks.study.errors import Problem, format_value
from tasks.study.fields import CheckCount, Name, Section
from tasks.study.index_cost import IndexCost, IndexProblem
from tasks.study.validation_errors import make_validation_error

if TYPE_CHECKING:  # a study is read without torch
    from fastif.candidates import IndexSearch, Search

K_GUESS_DIVISOR = 10
"""Divisor of the number of rows that gives a guess of k where it is not chosen yet."""


class CandidateSection(Section):
    """`[candidates]`: base class; a kind overrides the properties that differ.

    A new kind is a subclass with a `kind`, and an entry of `tasks.study.candidates.CANDIDATES`.
    """

    if TYPE_CHECKING:
        kind: Any  # a string; each kind declares it, not always as the first field

    @property
    def methods(self) -> "tuple[IndexSection, ...]":
        """Methods that search an index; none by default."""
        return ()

    @property
    def methods_in_file(self) -> "Sequence[tuple[str, IndexSection]]":
        """Pairs of the place in the study file and the method."""
        return [("[candidates]", method) for method in self.methods]

    @property
    def checked_queries(self) -> int:
        """Number of queries with an additional full scan: key `check`, 0 for kinds without it."""
        return getattr(self, "check", 0)

    @property
    def target_method(self) -> "IndexSection | None":
        """Method with a k that is chosen by its recall; None if k is given."""
        return None

    @property
    def score_rank(self) -> int | None:
        """Rank of the low-rank approximation of query gradients, per layer; None for exact ones."""
        return None

    @property
    def has_half_precision(self) -> bool:
        """Whether the section asks for scores in bfloat16, which is a key of `[run]` by now."""
        return False

    @property
    def has_totals(self) -> bool:
        """Whether the summed effects of every training row are stored, by slice."""
        return False

    @property
    def may_have_totals(self) -> bool:
        """Whether totals can be stored, also by a full scan as fallback if no k suffices."""
        return self.has_totals or any(method.k is None for method in self.methods)

    @property
    def has_sketch_scores(self) -> bool:
        """Whether the stored scores are the approximate ones of the sketches, without rescoring."""
        return any(method.has_sketch_scores for method in self.methods)

    @property
    def requires_damping(self) -> bool:
        """Whether the method requires a damping > 0."""
        return any(method.requires_damping for method in self.methods)

    @property
    def may_reuse_queries(self) -> bool:
        """Whether the scores of a query do not depend on other queries, so they can be reused."""
        return not self.has_totals

    def count_kept_scores(self, rows: int) -> int:
        """Number of stored scores per query; a guess where k is not chosen yet.

        Args:
            rows: Number of training rows.
        """
        return sum(method.count_candidates(rows) for method in self.methods)

    def estimate_distinct_candidates(self, rows: int, queries: int) -> float:
        """Estimate the number of distinct candidates of several queries.

        The model is uniform sampling by `queries ** distinct_exponent` queries, fewer than there
        are, since similar queries share candidates.

        Args:
            rows: Number of training rows.
            queries: Number of queries that are scored together.
        """
        miss_rate = 1.0
        for method in self.methods:
            share = min(1.0, method.count_candidates(rows) / rows)
            miss_rate *= (1 - share) ** (queries**method.distinct_exponent)
        return rows * (1 - miss_rate)

    def make_search(self, rows: int, methods: "Sequence[IndexSearch]") -> "Search":
        """Make the search of candidates for the attributor.

        Args:
            rows: Number of training rows.
            methods: Searches of the index, one for each of `methods`.
        """
        (search,) = methods
        return search


class IndexSection(CandidateSection):
    """`[candidates]` of a kind that searches an index: `KnnSection` and `SketchSection`."""

    k: Annotated[int, Field(ge=1)] | None = None
    """number of candidates per query, at most the number of training rows"""
    target_recall: Annotated[float, Field(gt=0, le=1)] | None = None
    """instead of k: recall of the top 100 to reach; the smallest k that reaches it is chosen"""
    quota: Annotated[float, Field(gt=0, le=1)] | None = None
    """least share of the candidates for each label of the training rows; no quota if omitted"""
    factory: Name = "Flat"
    """FAISS index factory string; Flat is exact"""
    check: CheckCount = 8
    """number of queries with an additional full scan, to measure the candidates' recall"""

    distinct_exponent: ClassVar[float]
    """Exponent a such that q queries have as many distinct candidates as q^a independent ones.
    On 3,500 rows of the example 60 queries had 0.64 and 0.45 of the rows at k = 10 and 5 % by
    sketches (0.71 and 0.45 by this exponent), and 0.81 by nearest neighbours at 5 %."""
    index_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that determine the index vectors, with the model; if any, they use the curvature."""
    by_products: ClassVar[bool]
    """Whether the index ranks by inner products instead of distances."""

    @property
    def methods(self) -> "tuple[IndexSection, ...]":
        """Methods that search an index: this one."""
        return (self,)

    @property
    def target_method(self) -> "IndexSection | None":
        """This method, unless k is given."""
        return None if self.target_recall is None else self

    @property
    def has_sketch_scores(self) -> bool:
        """Whether the stored scores are those of the index."""
        return False

    @property
    def requires_damping(self) -> bool:
        """Whether the index vectors are preconditioned by the damped curvature."""
        return bool(self.index_fields)

    def count_candidates(self, rows: int) -> int:
        """Number of candidates per query; a guess where k is not chosen yet."""
        return self.k or self.guess_k(rows)

    def guess_k(self, rows: int) -> int:
        """Guess of a k that is not chosen yet."""
        return -(-rows // K_GUESS_DIVISOR)

    def estimate_index_cost(self, problem: IndexProblem) -> IndexCost:
        """Estimate time, memory and disk of building or searching the index."""
        raise NotImplementedError(type(self).__name__)

    @model_validator(mode="after")
    def _check_k(self) -> Self:
        if self.k is None and self.target_recall is None:
            change = "add k = 100, or target_recall = 0.95"
            expected = "the number of candidates per query"
            raise make_validation_error(Problem("k", expected, "nothing", change))
        if self.k is not None and self.target_recall is not None:
            expected, change = "no such key with k", "remove it, or k"
            raise make_validation_error(
                Problem("target_recall", expected, format_value(self.target_recall), change)
            )
        if self.k is not None and self.quota is not None and self.quota * self.k < 1:
            expected = f"at least 1 / k = {1 / self.k:.2g}, one candidate"
            raise make_validation_error(
                Problem("quota", expected, f"{self.quota:g}", "raise it, or k")
            )
        return self
