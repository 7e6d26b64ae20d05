"""CANDIDATES: registry of the kinds of `[candidates]`.

The docstring of a field is shown in the error message when the field is missing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.study.candidate_section import CandidateSection, IndexSection
from tasks.study.errors import Problem, format_value
from tasks.study.fields import CheckCount
from tasks.study.index_sections import AnyMethod, KnnSection, SketchSection
from tasks.study.validation_errors import make_validation_error

if TYPE_CHECKING:  # a study is read without torch
    from fastif.candidates import IndexSearch, Search


class UnionSection(CandidateSection):
    """`[candidates]`: union of the candidates of several methods."""

    kind: Literal["union"] = "union"
    of: tuple[AnyMethod, ...]
    """two or more of { kind = "sketch", k = ... }, { kind = "knn", k = ... }"""
    check: CheckCount = 8
    """number of queries with an additional full scan, to measure the candidates' recall"""

    @property
    def methods(self) -> tuple[AnyMethod, ...]:
        """Methods that search an index."""
        return self.of

    @property
    def methods_in_file(self) -> Sequence[tuple[str, IndexSection]]:
        """Pairs of the place in the study file and the method."""
        return [(f"[candidates] of[{i + 1}]", method) for i, method in enumerate(self.of)]

    def make_search(self, rows: int, methods: "Sequence[IndexSearch]") -> "Search":
        """Make a search that joins the candidates of all methods."""
        from fastif.candidates import UnionSearch

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
                got, change = format_value(method.check), "set check once, next to of"
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
    """`[candidates]`: full scan; every row is scored, the top-k and bottom-k per query are kept."""

    kind: Literal["full"] = "full"
    keep: Annotated[int, Field(ge=1)] = 100
    """number of most harmful rows, and of most helpful rows, kept per query"""
    totals: bool = True
    """also keep the effects of every training row summed over all queries, by slice"""
    precision: Literal["full", "bfloat16"] = "full"
    """older name of [run] precision: bfloat16 is its "bf16", full leaves the choice to it"""
    rank: Annotated[int, Field(ge=1)] | None = None
    """rank of a low-rank approximation of query gradients, per linear layer; exact if omitted"""

    @model_validator(mode="after")
    def _check_rank(self) -> Self:
        if self.rank is not None and self.precision != "full":
            expected, got = (
                f"no such key with precision = {format_value(self.precision)}",
                f"{self.rank}",
            )
            raise make_validation_error(Problem("rank", expected, got, "remove one of the two"))
        return self

    @property
    def score_rank(self) -> int | None:
        """Value of the key `rank`."""
        return self.rank

    @property
    def has_half_precision(self) -> bool:
        """Whether the key `precision` asks for bfloat16, as `[run] precision = "bf16"` does."""
        return self.precision == "bfloat16"

    @property
    def has_totals(self) -> bool:
        """Value of the key `totals`."""
        return self.totals

    def count_kept_scores(self, rows: int) -> int:
        """Number of stored scores per query: `keep` most harmful and `keep` most helpful rows."""
        return 2 * self.keep

    def estimate_distinct_candidates(self, rows: int, queries: int) -> float:
        """Number of training rows, since all are scored."""
        return rows

    def make_search(self, rows: int, methods: "Sequence[IndexSearch]") -> "Search":
        """Make a full scan with the rank of the section."""
        from fastif.candidates import ExhaustiveSearch

        return ExhaustiveSearch(self.keep, self.rank)


class AutoSection(CandidateSection):
    """`[candidates]`: full scan, sketches or nearest neighbours, chosen by forecast cost."""

    kind: Literal["auto"] = "auto"
    target_recall: Annotated[float, Field(gt=0, le=1)] = 0.95
    """recall of the top 100 that sketches must reach"""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """time limit of an audit; no limit if omitted"""
    sketch_scores: bool = False
    """whether approximate scores of sketches are acceptable if exact ones exceed the limit"""
    check: CheckCount = 8
    """number of queries with an additional full scan, to measure the candidates' recall"""

    @property
    def may_have_totals(self) -> bool:
        """Whether a full scan may be chosen: always."""
        return True

    @property
    def may_reuse_queries(self) -> bool:
        """Whether scores can be reused: no, since runs can choose different methods."""
        return False


CANDIDATES: dict[str, type[CandidateSection]] = {
    "knn": KnnSection,
    "sketch": SketchSection,
    "union": UnionSection,
    "full": FullScanSection,
    "auto": AutoSection,
}
"""Sections by `kind`, in the order of error messages."""
