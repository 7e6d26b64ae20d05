"""Labels of rows by several annotators."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.errors import InputError


@dataclass(frozen=True, eq=False)
class AnnotatedRows:
    """Labels of n rows by a annotators, in long form: one entry an annotation.

    An annotation that is given twice counts once.

    Attributes:
        rows: Position of the row of each annotation, [m].
        annotators: Number of the annotator of each annotation, [m].
        labels: Label of each annotation, a class index, [m].
        row_count: Number of rows n; rows without an annotation are allowed.
        annotator_count: Number of annotators a.
        classes: Number of classes c, two or more.
        prior: Class probabilities of each row before its annotations, such as by a classifier,
            [n, c]; None for the class shares.

    Raises:
        InputError: No annotations, numbers outside their range, two labels of a row by the same
            annotator, or a prior that is none.

    Examples:
        >>> import torch
        >>> rows, annotators = torch.tensor([0, 0, 0]), torch.tensor([0, 0, 1])
        >>> len(AnnotatedRows(rows, annotators, torch.tensor([1, 1, 0]), 1, 2, 2).labels)
        2
    """

    rows: Int[Tensor, " m"]
    annotators: Int[Tensor, " m"]
    labels: Int[Tensor, " m"]
    row_count: int
    annotator_count: int
    classes: int
    prior: Float[Tensor, "n c"] | None = None

    def __post_init__(self) -> None:
        if self.classes < 2 or len(self.labels) == 0:
            raise InputError(
                "annotations",
                "one or more annotations, and labels of two or more classes",
                f"{len(self.labels)} annotations, {self.classes} classes",
                "Give the annotations of all classes.",
            )
        limits = {"rows": self.row_count, "annotators": self.annotator_count}
        for name, limit in {**limits, "labels": self.classes}.items():
            values = getattr(self, name)
            if int(values.min()) < 0 or int(values.max()) >= limit:
                got = f"{int(values.min())} to {int(values.max())}"
                remedy = "Correct the numbers, or the limit."
                raise InputError(f"annotations: {name}", f"0 to {limit - 1}", got, remedy)
        self._check_prior()
        self._drop_repeated()

    def _check_prior(self) -> None:
        if self.prior is None:
            return
        expected, is_fitting = (self.row_count, self.classes), False
        if tuple(self.prior.shape) == expected and bool(torch.isfinite(self.prior).all()):
            is_fitting = bool((self.prior >= 0).all() and (self.prior.sum(1) > 0).all())
        if not is_fitting:
            raise InputError(
                "annotations: prior",
                f"probabilities of {expected[0]} rows and {expected[1]} classes",
                f"shape {tuple(self.prior.shape)}, or negative, missing or all-zero rows",
                "Give the class probabilities of each row.",
            )

    def _drop_repeated(self) -> None:
        """Keep each annotation once, sorted by row and annotator; refuse contradicting ones."""
        entries = torch.stack([self.rows, self.annotators, self.labels], 1).unique(dim=0)
        pairs, counts = entries[:, :2].unique(dim=0, return_counts=True)
        if bool((counts > 1).any()):
            row, annotator = pairs[counts > 1][0].tolist()
            raise InputError(
                "annotations",
                "one label of each row by each annotator",
                f"{int((counts > 1).sum())} contradictions, such as row {row} by annotator "
                f"{annotator}",
                "Keep one of these labels.",
            )
        for name, column in zip(("rows", "annotators", "labels"), entries.T, strict=True):
            object.__setattr__(self, name, column.contiguous())

    @property
    def annotations_per_row(self) -> Int[Tensor, " n"]:
        """Number of annotations of each row, [n]."""
        return self.rows.bincount(minlength=self.row_count)

    @property
    def annotations_per_annotator(self) -> Int[Tensor, " a"]:
        """Number of annotations by each annotator, [a]."""
        return self.annotators.bincount(minlength=self.annotator_count)
