"""Labelled rows to be judged, and rows of certain label."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.errors import InputError
from fastif.mislabels.random_audit import AuditedRows, RandomAudit

NOT_REVIEWED, NO_LABEL_FITS = -1, -2
"""Of `LabeledData.known`: nobody has looked at the row; somebody found that no label fits it."""


@dataclass(frozen=True, eq=False)
class LabeledData:
    """Labelled rows.

    Attributes:
        features: fixed, and made without these labels; see `features.joined`.
        labels: as given.
        classes: how many there are.
        groups: equal for rows that must not judge each other, such as duplicates.
        known: the true class of rows that a person has looked at; UNSEEN or DROPPED.
        classifier_logits: logits of a classifier of another kind that has not seen the row, such as
            the study's own, cross-fitted.
        terms: of texts, the weight of each term in each row: of words and of letters, each counted
            by a judge of its own; see `terms`.
        audited: rows that were drawn at random and looked at.

    Raises:
        InputError: they do not fit each other, are not finite, or hold a single class.
    """

    features: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]
    classes: int
    groups: Int[Tensor, " n"] | None = None
    known: Int[Tensor, " n"] | None = None
    classifier_logits: Float[Tensor, "n c"] | None = None
    terms: tuple[csr_matrix, ...] = ()
    audited: AuditedRows | None = None

    def __post_init__(self) -> None:
        if not bool(torch.isfinite(self.features).all()):
            bad = (~torch.isfinite(self.features).all(1)).nonzero()[0].item()
            raise InputError(
                "mislabels",
                "features that are finite numbers",
                f"NaN or infinity in row {bad}",
                "Repair the encoder or the row.",
            )
        if len(self.labels.unique()) < 2:
            raise InputError(
                "mislabels",
                "labels of two or more classes",
                f"one class in all {len(self.labels)} rows",
                "With one class no label can be told to be wrong; give the whole table.",
            )

    @property
    def group_ids(self) -> Int[Tensor, " n"]:
        """The groups, or each row by itself."""
        return torch.arange(len(self.labels)) if self.groups is None else self.groups

    @property
    def known_one_hot(self) -> Float[Tensor, "n c"]:
        """One-hot rows for those whose class is known, zeros for the others."""
        if self.known is None:
            return torch.zeros(len(self.labels), self.classes)
        return one_hot(self.known.clamp_min(0), self.classes) * (self.known >= 0)[:, None].float()

    def clamp_to_known(self, class_posterior: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """The belief, but for rows whose class is known."""
        known_one_hot = self.known_one_hot
        return torch.where(known_one_hot.sum(1, keepdim=True) > 0, known_one_hot, class_posterior)

    def select(self, mask: Bool[Tensor, " n"]) -> "LabeledData":
        """Some of the rows; their groups as they were, and nothing of those that were drawn."""
        columns = (self.group_ids, self.known, self.classifier_logits)
        groups, known, classifier_logits = (
            None if column is None else column[mask] for column in columns
        )
        terms = tuple(csr_matrix(matrix[mask.numpy()]) for matrix in self.terms)
        return LabeledData(
            self.features[mask],
            self.labels[mask],
            self.classes,
            groups,
            known,
            classifier_logits,
            terms,
        )

    def make_audit(self, prior_error: Float[Tensor, " n"]) -> RandomAudit | None:
        """What drawn rows say of all; None if too few were drawn.

        Args:
            prior_error: probability of a wrong label, made without what was seen of the row.
        """
        if self.known is None or self.audited is None or not self.audited.has_enough:
            return None
        reviewed = self.known != NOT_REVIEWED
        return RandomAudit(
            self.audited, self.labels, prior_error, reviewed, reviewed & (self.known != self.labels)
        )

    @property
    def weights(self) -> Float[Tensor, " n"]:
        """0 for rows that no label fits, else 1."""
        if self.known is None:
            return torch.ones(len(self.labels))
        return (self.known != NO_LABEL_FITS).float()


@dataclass(frozen=True, eq=False)
class TrustedData:
    """Rows whose labels are certain.

    Attributes:
        features: made together with those of the rows to be judged.
        labels: theirs.
        classes: how many there are.
        terms: of texts, made together with those of the rows too; as many kinds.

    Raises:
        InputError: a class has fewer than two rows.
    """

    features: Float[Tensor, "m d"]
    labels: Int[Tensor, " m"]
    classes: int
    terms: tuple[csr_matrix, ...] = ()

    def __post_init__(self) -> None:
        counts = self.labels.bincount(minlength=self.classes)
        if int(counts.min()) < 2:
            raise InputError(
                "trusted rows",
                "two or more of each class",
                f"{int(counts.min())} of class {int(counts.argmin())}",
                "Give more of them, or set trusted = false.",
            )
