"""Mislabel detection where a row has any number of labels: a probability for each row and label."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor

from fastif.errors import InputError
from fastif.mislabels.audit_sample import AuditedRows
from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.knn import find_neighbours
from fastif.mislabels.labeled_data import NOT_REVIEWED, LabeledData
from fastif.mislabels.random_audit import CountEstimate, RandomAudit
from fastif.mislabels.rare_labels import pool_rare_labels

MIN_GROUPS = 5
"""Least number of distinct rows with a label, and without it, for a search: one for each fold."""
DETECTOR = MislabelDetector(repeats=1, again=False)
"""Detector of a label: one partition and one round, as there are as many detections as labels."""


@dataclass(frozen=True, eq=False)
class LabelSetData:
    """Rows with any number of labels each.

    Attributes:
        features: Features of n rows, [n, d].
        given: Given labels, 1 where a row has label j and 0 where it has not, [n, c].
        groups: Group of each row, [n]; rows of a group, such as near-duplicates, share a fold.
        known: Reviewed labels, 0 or 1, and `NOT_REVIEWED`, [n, c]; None without reviews.
        terms: Sparse tf-idf matrices of texts, as in `LabeledData`.
        contents: Content of each row, [n]; rows of equal numbers have one true set of labels.
        audited: Random audit samples of cells (row, label), row by row; None without any.

    Raises:
        InputError: A given label is neither 0 nor 1.
    """

    features: Float[Tensor, "n d"]
    given: Int[Tensor, "n c"]
    groups: Int[Tensor, " n"] | None = None
    known: Int[Tensor, "n c"] | None = None
    terms: tuple[csr_matrix, ...] = ()
    contents: Int[Tensor, " n"] | None = None
    audited: AuditedRows | None = None

    def __post_init__(self) -> None:
        if not bool(((self.given == 0) | (self.given == 1)).all()):
            raise InputError(
                "mislabels", "0 or 1 for each row and label", "other numbers", "Correct the labels."
            )

    @property
    def group_ids(self) -> Int[Tensor, " n"]:
        """Group of each row; row positions if no groups are given, [n]."""
        return torch.arange(len(self.given)) if self.groups is None else self.groups

    @property
    def reviewed(self) -> Int[Tensor, "n c"]:
        """Reviewed labels, `NOT_REVIEWED` for the other cells, [n, c]."""
        return torch.full_like(self.given, NOT_REVIEWED) if self.known is None else self.known

    def select_label(self, label: int) -> LabeledData:
        """Return the rows with one label, as a problem of two classes."""
        return LabeledData(
            self.features,
            self.given[:, label],
            2,
            self.groups,
            None if self.known is None else self.known[:, label],
            terms=self.terms,
            contents=self.contents,
        )


@dataclass(frozen=True, eq=False)
class LabelSetErrors:
    """Error probabilities of n rows with c labels.

    Attributes:
        probability: Probability that a row wrongly has, or wrongly lacks, a label, after reviews,
            [n, c]; NaN for labels that were not searched.
        prior_error: Probability before reviews of the cell and without recalibration, [n, c].
        row_probability: Probability that one or more labels of the row are wrong, if errors of
            different labels are independent, [n].
        rare: Number of distinct rows with and without each label that was not searched, by label.
        uninformed: Labels that the features do not predict better than chance.
        audited_counts: Estimated number of wrong cells of each label and, last, of all, from random
            audit samples; None with fewer than 30 verdicts.
        neighbour_ids: Positions of each row's k nearest neighbours, [n, k].
    """

    probability: Float[Tensor, "n c"]
    prior_error: Float[Tensor, "n c"]
    row_probability: Float[Tensor, " n"]
    neighbour_ids: Int[Tensor, "n k"]
    rare: dict[int, tuple[int, int]] = field(default_factory=dict)
    uninformed: tuple[int, ...] = ()
    audited_counts: tuple[CountEstimate, ...] | None = None


@dataclass(frozen=True)
class LabelSetDetector:
    """Binary relevance (Boutell et al., 2004): `MislabelDetector` on each label by itself.

    A cell is an error where a row has label j wrongly, or lacks it wrongly. Each label is a problem
    of two classes with a noise transition matrix of its own, so that labels that annotators forget
    have another error rate than labels that they add. Features, folds and neighbours are those of
    all labels. Labels with fewer than five distinct rows with it, or without it, are not searched,
    and rare ones have the error rates of the frequent ones, see `pool_rare_labels`.

    Attributes:
        detector: Detector of a label.

    Examples:
        >>> import torch
        >>> from fastif.mislabels import LabelSetData, LabelSetDetector
        >>> features = torch.tensor([[-1.0, 0.1], [1.0, -0.1]]).repeat(20, 1)
        >>> given = torch.tensor([[0, 1], [1, 0]]).repeat(20, 1)
        >>> given[6, 1] = 0  # a label that was forgotten
        >>> errors = LabelSetDetector()(LabelSetData(features, given))
        >>> divmod(int(errors.probability.argmax()), 2), int(errors.row_probability.argmax())
        ((6, 1), 6)
    """

    detector: MislabelDetector = DETECTOR

    def __call__(
        self,
        rows: LabelSetData,
        neighbour_ids: Int[Tensor, "n k"] | None = None,
        advance: Callable[[int], object] | None = None,
    ) -> LabelSetErrors:
        """Return the error probability of every row and label.

        Args:
            rows: Features and given labels.
            neighbour_ids: Positions of each row's k nearest rows, [n, k]; None searches them.
            advance: Progress callback, called with the number of labels that were searched.

        Raises:
            InputError: All rows are in one group, or features are not finite.
        """
        assign_group_folds(rows.group_ids, self.detector.folds, self.detector.seed)
        if neighbour_ids is None:
            neighbour_ids = find_neighbours(rows.features, self.detector.neighbours)
        tables, rare, uninformed = self._search_labels(rows, neighbour_ids, advance)
        probability, prior_error, loss = tables
        probability, prior_error = (
            pool_rare_labels(each, loss, rows.given) for each in (probability, prior_error)
        )
        audit = _make_audit(rows, prior_error)
        if audit is not None:
            recalibrated = audit.recalibrate().view(probability.shape)
            probability = recalibrated.where(~prior_error.isnan(), torch.nan)
        probability = _set_reviewed(rows, probability)
        labels = (*range(rows.given.shape[1]), None)
        counts_by_label = audit and tuple(audit.estimate_errors(label) for label in labels)
        pooled = pool_labels(probability)
        return LabelSetErrors(
            *(probability, prior_error, pooled, neighbour_ids),
            *(rare, tuple(uninformed), counts_by_label),
        )

    def _search_labels(
        self,
        rows: LabelSetData,
        neighbour_ids: Int[Tensor, "n k"],
        advance: Callable[[int], object] | None,
    ) -> tuple[Float[Tensor, "3 n c"], dict[int, tuple[int, int]], list[int]]:
        """Return probability, prior error and out-of-fold loss of each cell, and labels left out.

        The last two are the counts of labels that were not searched, and labels that the features
        do not predict.
        """
        tables = torch.full((3, *rows.given.shape), torch.nan)
        rare: dict[int, tuple[int, int]] = {}
        uninformed: list[int] = []
        for label in range(rows.given.shape[1]):
            counts = count_distinct(rows, label)
            if min(counts) < MIN_GROUPS:
                rare[label] = counts
            else:
                posterior = self.detector(rows.select_label(label), None, neighbour_ids)
                columns = (
                    posterior.probability,
                    posterior.prior_error,
                    posterior.label_scores["loss"],
                )
                tables[:, :, label] = torch.stack([column.float() for column in columns])
                uninformed += [] if posterior.informed else [label]
            if advance is not None:
                advance(1)
        return tables, rare, uninformed


def count_distinct(rows: LabelSetData, label: int) -> tuple[int, int]:
    """Count the distinct rows with and without a label, as far as reviews have not changed them."""
    reviewed = rows.reviewed[:, label]
    label_is_on = torch.where(reviewed == NOT_REVIEWED, rows.given[:, label], reviewed) == 1
    groups = rows.group_ids
    return len(groups[label_is_on].unique()), len(groups[~label_is_on].unique())


def pool_labels(probability: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Pool the labels of a row: 1 - Π_j (1 - p_j), over the labels that were searched.

    Examples:
        >>> pool_labels(torch.tensor([[0.5, 0.5, torch.nan]]))
        tensor([0.7500])
    """
    return 1 - (1 - probability.nan_to_num(0.0)).prod(1)


def _set_reviewed(rows: LabelSetData, probability: Float[Tensor, "n c"]) -> Tensor:
    """Set the probability of reviewed cells to 0 or 1."""
    is_reviewed: Bool[Tensor, "n c"] = rows.reviewed != NOT_REVIEWED
    return torch.where(is_reviewed, (rows.reviewed != rows.given).float(), probability)


def _make_audit(rows: LabelSetData, prior_error: Float[Tensor, "n c"]) -> RandomAudit | None:
    """Return the random audit of the cells, row by row; None with fewer than 30 verdicts."""
    if rows.known is None or rows.audited is None or not rows.audited.has_enough:
        return None
    n, c = rows.given.shape
    reviewed = rows.known != NOT_REVIEWED
    return RandomAudit(
        rows.audited,
        torch.arange(c).repeat(n),
        prior_error.nan_to_num(0.5).flatten(),
        reviewed.flatten(),
        (reviewed & (rows.known != rows.given)).flatten(),
    )
