"""Input of mislabel detection: labelled rows with fixed features, and trusted rows."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.errors import InputError
from fastif.mislabels.audit_sample import AuditedRows
from fastif.mislabels.external_classifier import ExternalClassifier
from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.random_audit import RandomAudit

NOT_REVIEWED = -1
"""Value of `LabeledData.known` for a row that was not reviewed."""
TILE_ROWS = 16_384
"""Number of rows whose features are checked at a time."""
NO_LABEL_FITS = -2
"""Value of `LabeledData.known` for a reviewed row that no label fits."""


@dataclass(frozen=True, eq=False)
class LabeledData:
    """Labelled rows of a table, with fixed features.

    Attributes:
        features: Features computed without these labels, standardized, [n, d]; see `concat_views`.
        labels: Given label of each row, a class index, [n].
        classes: Number of classes c.
        groups: Group of each row, [n]; rows of a group, such as duplicates, share a fold. If None,
            each row is its own group.
        known: Right class of each reviewed row, [n]; else `NOT_REVIEWED` or `NO_LABEL_FITS`. None
            if no row was reviewed.
        classifier_logits: Out-of-fold logits of another classifier, [n, c], such as the study's
            own; None without one.
        terms: Sparse tf-idf matrices of texts, [n, terms]: word n-grams, then character n-grams.
            One naive Bayes classifier is fitted to each.
        audited: Random audit samples of these rows; None without any.
        external: Predictions of these rows by classifiers that are not fitted here, such as a
            language model; each is weighted by `fit_external_evidence`.
        contents: Content of each row, [n]; rows with equal numbers are identical and have one true
            class, such as equal texts. None where features do not determine the class.

    Raises:
        InputError: Features are not finite, all labels are of one class, or external predictions
            are of other rows.
    """

    features: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]
    classes: int
    groups: Int[Tensor, " n"] | None = None
    known: Int[Tensor, " n"] | None = None
    classifier_logits: Float[Tensor, "n c"] | None = None
    terms: tuple[csr_matrix, ...] = ()
    audited: AuditedRows | None = None
    external: tuple[ExternalClassifier, ...] = ()
    contents: Int[Tensor, " n"] | None = None

    def __post_init__(self) -> None:
        for classifier in self.external:
            classifier.check_rows(len(self.labels), self.classes)
        first_bad = find_infinite_row(self.features)
        if first_bad is not None:
            raise InputError(
                "mislabels",
                "finite features",
                f"NaN or infinity in row {first_bad}",
                "Correct the row, or use another encoder.",
            )
        if len(self.labels.unique()) < 2:
            raise InputError(
                "mislabels",
                "labels of two or more classes",
                f"one class in all {len(self.labels)} rows",
                "Label errors are detected between classes: give the rows of all classes.",
            )

    @property
    def group_ids(self) -> Int[Tensor, " n"]:
        """Group of each row; row positions if no groups are given, [n]."""
        return torch.arange(len(self.labels)) if self.groups is None else self.groups

    @property
    def group_count(self) -> int:
        """Number of groups: the number of independent rows."""
        return len(self.group_ids.unique())

    @property
    def known_one_hot(self) -> Float[Tensor, "n c"]:
        """One-hot right class of reviewed rows, zeros for the others, [n, c]."""
        if self.known is None:
            return torch.zeros(len(self.labels), self.classes)
        return one_hot(self.known.clamp_min(0), self.classes) * (self.known >= 0)[:, None].float()

    def clamp_to_known(self, class_posterior: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Return the posterior with the right class of reviewed rows set to probability 1."""
        known_one_hot = self.known_one_hot
        return torch.where(known_one_hot.sum(1, keepdim=True) > 0, known_one_hot, class_posterior)

    def select(self, mask: Bool[Tensor, " n"]) -> "LabeledData":
        """Return the rows of a mask with their groups, without the random audit sample."""
        columns = (self.group_ids, self.known, self.classifier_logits, self.contents)
        groups, known, classifier_logits, contents = (
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
            external=tuple(each.select(mask) for each in self.external),
            contents=contents,
        )

    def make_audit(self, prior_error: Float[Tensor, " n"]) -> RandomAudit | None:
        """Return the random audit of these rows; None with fewer than 30 verdicts.

        Args:
            prior_error: Error probability of each given label before reviews, [n].
        """
        if self.known is None or self.audited is None or not self.audited.has_enough:
            return None
        reviewed = self.known != NOT_REVIEWED
        return RandomAudit(
            self.audited, self.labels, prior_error, reviewed, reviewed & (self.known != self.labels)
        )

    @property
    def weights(self) -> Float[Tensor, " n"]:
        """Training weight of each row: 0 where no label fits, else 1, [n]."""
        if self.known is None:
            return torch.ones(len(self.labels))
        return (self.known != NO_LABEL_FITS).float()

    @property
    def evidence_weights(self) -> Float[Tensor, " n"]:
        """Weight of each row as independent evidence: those of a group add up to at most 1, [n]."""
        _, group, sizes = self.group_ids.unique(return_inverse=True, return_counts=True)
        return self.weights / sizes[group]


def find_infinite_row(features: Float[Tensor, "n d"]) -> int | None:
    """Position of the first row with NaN or infinity, by tiles of rows; None without one."""
    for number, tile in enumerate(features.split(TILE_ROWS)):
        is_finite = torch.isfinite(tile).all(1)
        if not bool(is_finite.all()):
            return number * TILE_ROWS + int((~is_finite).nonzero()[0])
    return None


@dataclass(frozen=True, eq=False)
class TrustedData:
    """Rows with trusted labels, such as an adjudicated validation set.

    Attributes:
        features: Features computed together with those of the labelled rows, [m, d].
        labels: Trusted label of each row, a class index, [m].
        classes: Number of classes c.
        terms: Sparse tf-idf matrices of these texts, with the columns of `LabeledData.terms`.
        groups: Group of each row, [m]; rows of a group, such as duplicates, share a fold. If None,
            each row is its own group.

    Raises:
        InputError: A class has fewer than two rows, or all rows are in one group.
    """

    features: Float[Tensor, "m d"]
    labels: Int[Tensor, " m"]
    classes: int
    terms: tuple[csr_matrix, ...] = ()
    groups: Int[Tensor, " m"] | None = None

    def __post_init__(self) -> None:
        counts = self.labels.bincount(minlength=self.classes)
        if int(counts.min()) < 2:
            raise InputError(
                "trusted rows",
                "two or more of each class",
                f"{int(counts.min())} of class {int(counts.argmin())}",
                "Add trusted rows of this class, or set trusted = false.",
            )
        if len(self.group_ids.unique()) < 2:
            raise InputError(
                "trusted rows",
                "two or more distinct rows",
                f"duplicates of one row, {len(self.labels)} times",
                "Add other trusted rows, or set trusted = false.",
            )

    @property
    def group_ids(self) -> Int[Tensor, " m"]:
        """Group of each row; row positions if no groups are given, [m]."""
        return torch.arange(len(self.labels)) if self.groups is None else self.groups

    def assign_folds(self, fold_count: int, seed: int) -> Int[Tensor, " m"]:
        """Assign the rows at random to folds, groups as a whole; see `assign_group_folds`."""
        return assign_group_folds(self.group_ids, fold_count, seed)
