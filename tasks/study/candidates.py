"""CANDIDATES: the kinds of `[candidates]` of a study file, the one place that lists them.

The text under a field is what a message says when the field is missing.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fastif.candidates import ExhaustiveSearch, IndexSearch, Search, UnionSearch
from tasks.study.candidate_section import CandidateSection, IndexSection
from tasks.study.errors import Problem, format_value
from tasks.study.fields import CheckCount
from tasks.study.index_sections import AnyMethod, KnnSection, SketchSection
from tasks.study.validation_errors import make_validation_error


class UnionSection(CandidateSection):
    """`[candidates]`: what any of several methods finds."""

    kind: Literal["union"] = "union"
    of: tuple[AnyMethod, ...]
    """two or more of { kind = "sketch", k = ... }, { kind = "knn", k = ... }"""
    check: CheckCount = 8
    """queries that are scanned in full as well, to tell what the candidates miss; 0: none"""

    @property
    def methods(self) -> tuple[AnyMethod, ...]:
        """The methods that search."""
        return self.of

    @property
    def methods_in_file(self) -> Sequence[tuple[str, IndexSection]]:
        """The same, and the place of each in `of`."""
        return [(f"[candidates] of[{i + 1}]", method) for i, method in enumerate(self.of)]

    def make_search(self, rows: int, methods: Sequence[IndexSearch]) -> Search:
        """All of the methods."""
        return UnionSearch(methods)

    @model_validator(mode="after")
    def _check_methods(self) -> Self:
        if len(self.of) < 2:
            got = f"{len(self.of)}"
            raise make_validation_error(
                Problem("of", "2 or more methods", got, "add the missing ones")
            )
        for place, method in enumerate(self.of):
            if method.check != IndexSection.model_fields["check"].default:
                got, change = format_value(method.check), "set check once, beside of"
                raise make_validation_error(
                    Problem(f"of[{place + 1}] check", "no such key", got, change)
                )
            if method.target_recall is not None:
                got, change = format_value(method.target_recall), "give each method its k"
                expected = "no such key in a union"
                raise make_validation_error(
                    Problem(f"of[{place + 1}] target_recall", expected, got, change)
                )
        return self


class FullScanSection(CandidateSection):
    """`[candidates]`: every training example; the most extreme of each query are kept."""

    kind: Literal["full"] = "full"
    keep: Annotated[int, Field(ge=1)] = 100
    """most harmful and most helpful rows kept a query"""
    totals: bool = True
    """also keep the sum of every training row's effects over all queries, slice by slice"""
    precision: Literal["full", "bfloat16"] = "full"
    """bfloat16 scores in half the memory, and faster where the processor can; see rounding"""
    rank: Annotated[int, Field(ge=1)] | None = None
    """directions of a linear layer that a query is held in for scoring; all if left out"""

    @model_validator(mode="after")
    def _check_rank(self) -> Self:
        if self.rank is not None and self.precision != "full":
            expected, got = (
                f"no such key beside precision = {format_value(self.precision)}",
                f"{self.rank}",
            )
            raise make_validation_error(Problem("rank", expected, got, "remove one of the two"))
        return self

    @property
    def score_rank(self) -> int | None:
        """The key `rank`."""
        return self.rank

    @property
    def has_totals(self) -> bool:
        """The key `totals`."""
        return self.totals

    def count_kept_scores(self, rows: int) -> int:
        """Of one query, at both ends."""
        return 2 * self.keep

    def estimate_distinct_candidates(self, rows: int, queries: int) -> float:
        """All rows."""
        return rows

    def make_search(self, rows: int, methods: Sequence[IndexSearch]) -> Search:
        """The scan, in the precision or by the rank of the section."""
        return ExhaustiveSearch(self.keep, self.precision == "bfloat16", self.rank)


class AutoSection(CandidateSection):
    """`[candidates]`: a full scan, sketches or nearest rows, by what each is forecast to take."""

    kind: Literal["auto"] = "auto"
    target_recall: Annotated[float, Field(gt=0, le=1)] = 0.95
    """share of the top 100 that sketches are to find"""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """time that an audit may take; without it any"""
    sketch_scores: bool = False
    """whether scores by sketches alone will do where exact ones do not fit into minutes"""
    check: CheckCount = 8
    """queries that are scanned in full as well, to tell what the candidates miss; 0: none"""

    @property
    def may_have_totals(self) -> bool:
        """Whether a full scan may be chosen: always."""
        return True

    @property
    def may_reuse_queries(self) -> bool:
        """No: a night may choose otherwise than the one before."""
        return False


CANDIDATES: dict[str, type[CandidateSection]] = {
    "knn": KnnSection,
    "sketch": SketchSection,
    "union": UnionSection,
    "full": FullScanSection,
    "auto": AutoSection,
}
"""`kind` -> section. Messages list them in this order."""
