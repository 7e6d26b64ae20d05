"""Injected label flips: recall of the detector on labels that are flipped in a copy."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.labeled_data import NOT_REVIEWED, LabeledData


@dataclass(frozen=True, eq=False)
class InjectedFlips:
    """Labels with injected flips.

    Attributes:
        labels: Label of every row after the flips, [n].
        rows: Positions of the flipped rows, [m].
        confusable: True where the new label was sampled from the label posterior; False where it is
            uniform over the other classes, [m].
    """

    labels: Int[Tensor, " n"]
    rows: Int[Tensor, " m"]
    confusable: Bool[Tensor, " m"]


@dataclass(frozen=True)
class FlipRecall:
    """Recall of the detector on injected label flips."""

    planted: int
    """Number of flips over all repeats."""
    budget: int
    """Number of top-ranked rows among which flips are counted."""
    any: float
    """Recall of flips to a uniformly random class; NaN without such flips."""
    confusable: float
    """Recall of flips to a class sampled from the posterior; NaN without such flips."""
    reachable: float = 1.0
    """Recall of a perfect ranking, see `compute_reachable_share`; NaN without flips."""


def compute_reachable_share(flips: int, inspected: int) -> float:
    """Return the recall of a perfect ranking, which no ranking exceeds.

        reachable = min(k, f) / f

    A recall divided by it is 1 for a perfect ranking, regardless of the number of inspected rows.

    Args:
        flips: Number f of flipped labels.
        inspected: Number k of top-ranked rows that are inspected.

    Returns:
        A number between 0 and 1; NaN without flips.

    Examples:
        >>> compute_reachable_share(175, 100), compute_reachable_share(40, 100)
        (0.5714285714285714, 1.0)
    """
    return min(flips, inspected) / flips if flips else float("nan")


def inject_flips(
    rows: LabeledData,
    class_posterior: Float[Tensor, "n c"],
    share: float,
    seed: int,
    max_flips: int | None = None,
    eligible: Bool[Tensor, " n"] | None = None,
) -> InjectedFlips:
    """Flip the labels of randomly sampled rows in a copy.

    Half of the flips are to a class that is uniform over the others (symmetric noise), half to a
    class sampled from the posterior without the given label (confusable classes).

    Args:
        rows: Labelled data; reviewed rows are never flipped.
        class_posterior: Label posterior that confusable classes are sampled from, [n, c].
        share: Fraction of the eligible rows to flip, at least two rows.
        seed: Random seed of rows and classes.
        max_flips: Maximum number of flips; None sets no maximum.
        eligible: Mask of rows that may be flipped, [n]; None allows all.

    Returns:
        The labels after the flips, and which rows were flipped.
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
    """Measure the recall on injected label flips, with a new detection for each set of flips.

        recall = flips among the first k eligible rows / flips,   k = min(budget, 2 · flips)

    A perfect ranking has a recall of 1 for every budget, since no more labels are flipped than the
    budget holds; `FlipRecall.reachable` states it. A random ranking has a low one. Rows with an
    error probability above 1/2 are not flipped, as a flip might correct them. Rows above the median
    error probability are left out of the ranking, unless flipped: they may be errors of the table
    itself.

    Args:
        detector: The detector; it runs again with a single partition and the rounds of `baseline`.
        rows: Labelled data without flips.
        baseline: Result of the detector on `rows`.
        budget: Number of rows that people can review.
        share: Fraction of the rows to flip in each repeat.
        repeats: Number of independent sets of flips.

    Returns:
        Recall by kind of flip, over all repeats.
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
        len(hits),
        window,
        float(hits[~is_confusable].mean()),
        float(hits[is_confusable].mean()),
        compute_reachable_share(len(hits), repeats * window),
    )
