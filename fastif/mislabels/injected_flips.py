"""Injected label flips, in a copy: how many of them would a reviewer see?"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.labeled_data import NOT_REVIEWED, LabeledData


@dataclass(frozen=True, eq=False)
class InjectedFlips:
    """A shadow copy of labels.

    Attributes:
        labels: of all rows, some of them turned.
        rows: positions of these.
        confusable: which of them were turned to a label that suits the row; the others to any.
    """

    labels: Int[Tensor, " n"]
    rows: Int[Tensor, " m"]
    confusable: Bool[Tensor, " m"]


@dataclass(frozen=True)
class FlipRecall:
    """Recall of injected label flips.

    Attributes:
        planted: how many flips, of all draws together.
        budget: first rows of the order that they are counted in.
        any, confusable: share of those turned to any label, and to a likely one, among these rows;
            NaN where there is none of the kind.
    """

    planted: int
    budget: int
    any: float
    confusable: float


def inject_flips(
    rows: LabeledData,
    class_posterior: Float[Tensor, "n c"],
    share: float,
    seed: int,
    max_flips: int | None = None,
    eligible: Bool[Tensor, " n"] | None = None,
) -> InjectedFlips:
    """Flip the labels of some rows, half to any other label, half to one that suits the row.

    Args:
        rows: whose labels are copied; those that a person has looked at are left alone.
        class_posterior: in each class, that likely labels are drawn by.
        share: of the rows.
        seed: of the draw.
        max_flips: rows that are flipped; all of the share if left out.
        eligible: rows that may be; all if left out.
    """
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.ones(len(rows.labels), dtype=torch.bool) if eligible is None else eligible
    if rows.known is not None:
        allowed = allowed & (rows.known == NOT_REVIEWED)
    allowed_ids = allowed.nonzero()[:, 0]
    count = min(len(allowed_ids), max(2, round(share * len(allowed_ids))))
    count = count if max_flips is None else min(count, max_flips)
    flipped_ids = allowed_ids[torch.randperm(len(allowed_ids), generator=generator)[:count]]
    confusable = torch.arange(count) % 2 == 0
    given_labels = rows.labels[flipped_ids]
    offset = torch.randint(1, rows.classes, (count,), generator=generator)
    probabilities = (
        class_posterior[flipped_ids].clamp_min(1e-9).scatter(1, given_labels[:, None], 0.0)
    )
    likely_labels = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
    labels = rows.labels.clone()
    labels[flipped_ids] = torch.where(
        confusable, likely_labels, (given_labels + offset) % rows.classes
    )
    return InjectedFlips(labels, flipped_ids, confusable)


def measure_flip_recall(
    detector: MislabelDetector,
    rows: LabeledData,
    baseline: LabelPosterior,
    budget: int,
    share: float = 0.05,
    repeats: int = 2,
) -> FlipRecall:
    """Inject label flips, detect, and count those among the first rows of the order.

    A perfect order has a recall of 1 whatever the budget, and one by chance a low one. So no more
    labels are flipped than the budget holds; they are counted among the first `budget` rows, but
    no more than twice the flips; rows that are more likely wrong than right as they are stay as
    they are, since a flip might mend them; and what is more suspicious than the median row before
    any flip takes no place, since it may be an error of the table itself.

    Args:
        detector: the procedure, asked with one partition into folds and as many rounds.
        rows: as they are.
        baseline: what it found in them.
        budget: rows that a person will look at.
        share: of the rows, flipped in a draw.
        repeats: of flips.
    """
    plausible = baseline.probability <= 0.5
    unsuspicious = baseline.probability <= baseline.probability.median()
    recovered, confusable, window = [], [], 0
    for repeat in range(repeats):
        seed = detector.seed + repeat + 1
        flips = inject_flips(rows, baseline.posterior, share, seed, budget, plausible)
        flipped = replace(rows, labels=flips.labels)
        flipped_result = detector.with_one_partition(baseline.second_round)(
            flipped, neighbour_ids=baseline.neighbour_ids
        )
        window = min(budget, 2 * len(flips.rows))
        counted = unsuspicious.index_fill(0, flips.rows, True)
        order = flipped_result.probability.where(counted, -1.0).argsort(
            descending=True, stable=True
        )
        recovered.append(torch.isin(flips.rows, order[:window]))
        confusable.append(flips.confusable)
    hits, is_confusable = torch.cat(recovered).float(), torch.cat(confusable)
    return FlipRecall(
        len(hits), window, float(hits[~is_confusable].mean()), float(hits[is_confusable].mean())
    )
