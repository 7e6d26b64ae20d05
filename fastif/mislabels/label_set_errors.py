"""Mislabel detection where a row has any number of labels: a probability for each row and label."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.errors import InputError
from fastif.mislabels.audit_sample import AuditedRows
from fastif.mislabels.cross_fitting import CrossFitter
from fastif.mislabels.group_folds import assign_group_folds
from fastif.mislabels.identical_rows import pool_identical_labels
from fastif.mislabels.knn import find_neighbours
from fastif.mislabels.label_set_edits import SetEdits, SetErrors, find_set_errors, fit_set_edits
from fastif.mislabels.labeled_data import NOT_REVIEWED, LabeledData
from fastif.mislabels.posterior_summary import has_information
from fastif.mislabels.random_audit import CountEstimate, RandomAudit

MIN_GROUPS = 5
"""Least number of distinct rows with a label, and without it, for a search: one for each fold."""
NEIGHBOURS = 20
"""Number of nearest rows."""
FITTER = CrossFitter(folds=5, repeats=1, penalty=1e-3, seed=0)
"""Cross-fitting of a label: one partition, as there are as many fits as labels."""


@dataclass(frozen=True, eq=False)
class LabelSetData:
    """Rows with any number of labels each.

    Attributes:
        features: Features of n rows, [n, d].
        given: Given labels, 1 where a row has label j and 0 where it has not, [n, c].
        groups: Group of each row, [n]; rows of a group, such as near-duplicates, share a fold.
        known: Reviewed labels, 0 or 1, and `NOT_REVIEWED`, [n, c]; None without reviews.
        contents: Content of each row, [n]; rows of equal numbers have one true set of labels.
        audited: Random audit samples of cells (row, label), row by row; None without any.

    Raises:
        InputError: A given label is neither 0 nor 1.
    """

    features: Float[Tensor, "n d"]
    given: Int[Tensor, "n c"]
    groups: Int[Tensor, " n"] | None = None
    known: Int[Tensor, "n c"] | None = None
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

    @property
    def is_reviewed(self) -> Bool[Tensor, "n c"]:
        """Mask of the reviewed cells, [n, c]."""
        return self.reviewed != NOT_REVIEWED

    @property
    def corrected(self) -> Int[Tensor, "n c"]:
        """Labels with the reviews applied, [n, c]."""
        return torch.where(self.is_reviewed, self.reviewed, self.given)

    def select_label(self, label: int) -> LabeledData:
        """Return the rows with one label, with the reviews applied, as a problem of two classes."""
        labels, known = self.corrected[:, label], self.reviewed[:, label]
        return LabeledData(self.features, labels, 2, self.groups, known, contents=self.contents)


@dataclass(frozen=True, eq=False)
class LabelSetErrors:
    """Error probabilities of n rows with c labels.

    Attributes:
        probability: Probability that a row wrongly has, or wrongly lacks, a label, after reviews,
            [n, c]; NaN for labels that were not searched.
        prior_error: Probability before reviews of the cell and without recalibration, [n, c].
        row_probability: Probability that one or more labels of the row are wrong, [n]; with
            audit samples as if errors of different labels were independent.
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
    """Binary relevance (Boutell et al., 2004), and single edits of the label set of a row.

    A cell is an error where a row has label j wrongly, or lacks it wrongly. The probabilities of
    each label are out-of-fold (Northcutt et al., 2021), by a linear head on the features that all
    labels share. The errors are found of all labels of a row together: one label was forgotten,
    added, or exchanged for another one, with rates that are fitted to the rows, see
    `fit_set_edits`. Labels with fewer than five distinct rows with it, or without it, are not
    searched.

    Attributes:
        fitter: Cross-fitting of a label.
        neighbours: Number k of the nearest rows that are reported.

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

    fitter: CrossFitter = FITTER
    neighbours: int = NEIGHBOURS

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
        assign_group_folds(rows.group_ids, self.fitter.folds, self.fitter.seed)
        if neighbour_ids is None:
            neighbour_ids = find_neighbours(rows.features, self.neighbours)
        p, rare, uninformed = self.predict_labels(rows, advance)
        searched = ~p.isnan().any(0)
        prior_error, errors = _find_errors(rows, p, searched)
        probability, row_probability = errors
        audit = _make_audit(rows, prior_error)
        if audit is not None:
            recalibrated = audit.recalibrate().view(probability.shape)
            probability = recalibrated.where(~prior_error.isnan(), torch.nan)
            row_probability = pool_labels(probability)
        is_wrong = rows.is_reviewed & (rows.reviewed != rows.given)
        probability = torch.where(rows.is_reviewed, is_wrong.float(), probability)
        row_probability = torch.where(is_wrong.any(1), 1.0, row_probability)
        labels = (*range(rows.given.shape[1]), None)
        counts_by_label = audit and tuple(audit.estimate_errors(label) for label in labels)
        return LabelSetErrors(
            *(probability, prior_error, row_probability, neighbour_ids),
            *(rare, tuple(uninformed), counts_by_label),
        )

    def predict_labels(
        self, rows: LabelSetData, advance: Callable[[int], object] | None = None
    ) -> tuple[Float[Tensor, "n c"], dict[int, tuple[int, int]], list[int]]:
        """Return out-of-fold probabilities of the labels, [n, c], and the labels left out.

        The last two are the counts of labels that are not searched, and labels that the features
        do not predict.

        Args:
            rows: Features and given labels.
            advance: Progress callback, called with the number of labels.
        """
        p = torch.full(rows.given.shape, torch.nan)
        rare: dict[int, tuple[int, int]] = {}
        uninformed: list[int] = []
        for label in range(rows.given.shape[1]):
            counts = count_distinct(rows, label)
            if min(counts) < MIN_GROUPS:
                rare[label] = counts
            else:
                data = rows.select_label(label)
                logits = self.fitter(data, one_hot(data.labels, 2).float())
                p[:, label] = logits.softmax(1)[:, 1]
                uninformed += [] if has_information(data, (), [logits]) else [label]
            if advance is not None:
                advance(1)
        return p, rare, uninformed


def _find_errors(
    rows: LabelSetData, p: Float[Tensor, "n c"], searched: Bool[Tensor, " c"]
) -> tuple[Float[Tensor, "n c"], tuple[Float[Tensor, "n c"], Float[Tensor, " n"]]]:
    """Return error probabilities of the cells before reviews, and of cells and rows after."""
    before, after = (torch.full(rows.given.shape, torch.nan) for _ in range(2))
    if not bool(searched.any()):
        return before, (after, torch.zeros(len(rows.given)))
    corrected, settled = rows.corrected[:, searched], rows.is_reviewed[:, searched]
    edits = fit_set_edits(p[:, searched], corrected, settled)
    pooled = _pool_identical_rows(rows, p, searched, edits)
    errors: SetErrors = find_set_errors(pooled, corrected, edits, settled)
    without = find_set_errors(pooled, rows.given[:, searched], edits)
    before[:, searched], after[:, searched] = without.cell.float(), errors.cell.float()
    return before, (after, errors.row.float())


def _pool_identical_rows(
    rows: LabelSetData, p: Float[Tensor, "n c"], searched: Bool[Tensor, " c"], edits: SetEdits
) -> Float[Tensor, "n s"]:
    """Return probabilities with the contradicting labels of identical rows as evidence."""
    columns = []
    for place, label in enumerate(searched.nonzero()[:, 0].tolist()):
        data = rows.select_label(label)
        share = data.labels.double().mean().clamp(1e-6, 1 - 1e-6)
        missing = edits.forgotten[place] + edits.exchanged
        wrong = edits.added[place] + edits.exchanged * share / (1 - share)
        transition = torch.stack(
            [torch.stack([1 - wrong, wrong]), torch.stack([missing, 1 - missing])]
        )
        both = torch.stack([1 - p[:, label], p[:, label]], 1).double()
        columns.append(pool_identical_labels(both, data, transition)[:, 1])
    return torch.stack(columns, 1)


def count_distinct(rows: LabelSetData, label: int) -> tuple[int, int]:
    """Count the distinct rows with and without a label, as far as reviews have not changed them."""
    label_is_on, groups = rows.corrected[:, label] == 1, rows.group_ids
    return len(groups[label_is_on].unique()), len(groups[~label_is_on].unique())


def pool_labels(probability: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Pool the labels of a row: 1 - Π_j (1 - p_j), over the labels that were searched.

    Examples:
        >>> pool_labels(torch.tensor([[0.5, 0.5, torch.nan]]))
        tensor([0.7500])
    """
    return 1 - (1 - probability.nan_to_num(0.0)).prod(1)


def _make_audit(rows: LabelSetData, prior_error: Float[Tensor, "n c"]) -> RandomAudit | None:
    """Return the random audit of the cells, row by row; None with fewer than 30 verdicts."""
    if rows.known is None or rows.audited is None or not rows.audited.has_enough:
        return None
    n, c = rows.given.shape
    return RandomAudit(
        rows.audited,
        torch.arange(c).repeat(n),
        prior_error.nan_to_num(0.5).flatten(),
        rows.is_reviewed.flatten(),
        (rows.is_reviewed & (rows.known != rows.given)).flatten(),
    )
