"""The `[candidates]` section of a study file, a frozen record for each kind.

The text under a field is what a message says when the field is missing.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.study.errors import Problem, format_value
from tasks.study.fields import (
    CheckCount,
    Name,
    Section,
)
from tasks.study.validation_errors import make_validation_error


class IndexSection(Section):
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

    @property
    def methods(self) -> "tuple[AnyMethod, ...]":
        """The methods that search: this one."""
        assert isinstance(self, KnnSection | SketchSection)
        return (self,)

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


class KnnSection(IndexSection):
    """`[candidates]`: the nearest training examples by the model's own representation."""

    kind: Literal["knn"] = "knn"


class SketchSection(IndexSection):
    """`[candidates]`: the training examples whose sketches promise the largest effects.

    Half of the k at either end.
    """

    kind: Literal["sketch"] = "sketch"
    dimensions: Annotated[int, Field(ge=1)] = 1000
    """length of a sketch, a training row taking twice so many bytes"""
    width: Annotated[int, Field(ge=1)] = 16_384
    """of the folding that a gradient goes through first: wider is more exact"""
    energy: Annotated[float, Field(gt=0, le=1)] = 0.98
    """share of each layer's squared gradients that is kept before; 1 for a small damping"""
    rescore: bool = True
    """whether candidates are scored exactly; false keeps their scores by sketches, at once"""

    @model_validator(mode="after")
    def _check_sketch_scores(self) -> Self:
        if not self.rescore and (self.factory != "Flat" or self.quota is not None):
            key = "quota" if self.quota is not None else "factory"
            expected, got = "no such key beside rescore = false", format_value(getattr(self, key))
            raise make_validation_error(Problem(key, expected, got, "remove it, or rescore"))
        return self


AnyMethod = Annotated[KnnSection | SketchSection, Field(discriminator="kind")]


class UnionSection(Section):
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


class FullScanSection(Section):
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
    def methods(self) -> tuple[AnyMethod, ...]:
        """The methods that search: none."""
        return ()


class AutoSection(Section):
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
    def methods(self) -> tuple[AnyMethod, ...]:
        """The methods that search: none before one is chosen."""
        return ()


AnyCandidates = Annotated[
    KnnSection | SketchSection | UnionSection | FullScanSection | AutoSection,
    Field(discriminator="kind"),
]
