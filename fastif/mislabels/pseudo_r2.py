"""Pseudo-R² of labels by out-of-fold logits, and its test against chance."""

import torch
from jaxtyping import Float, Int
from scipy.stats import chi2
from torch import Tensor

from fastif.mislabels.calibration import calibrate_logits, fit_calibration

CHANCE_LEVEL = 0.01
"""Level of the test of whether the features predict the labels at all."""


def calibrated_pseudo_r2(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """Pseudo-R² of the labels by calibrated out-of-fold logits."""
    return pseudo_r2(calibrate_logits(logits, labels).log_softmax(1), labels)


def pseudo_r2(log_probs: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """McFadden's pseudo-R² of the labels, max(0, 1 - cross-entropy / entropy of the class shares).

    Args:
        log_probs: Log-probabilities, used without calibration, [n, c].
        labels: Given label of each row, [n].
    """
    label_log_probs = log_probs.gather(1, labels[:, None])
    return max(0.0, 1 + float(label_log_probs.mean()) / compute_entropy(labels))


def measure_skill(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """Pseudo-R² of calibrated out-of-fold logits; 0 where a calibration would reverse them.

    Without information, out-of-fold logits tend to be wrong: the other folds have fewer rows of
    the label. That a classifier errs is no reason to believe its opposite.
    """
    scale, shift = fit_calibration(logits, labels)
    if float(scale) <= 0:
        return 0.0
    return pseudo_r2((scale * logits + shift).log_softmax(1), labels)


def exceeds_chance(
    r_squared: float, entropy: float, rows: int, parameters: int, tests: int = 1
) -> bool:
    """Whether a pseudo-R² is larger than chance: likelihood-ratio test at the 1 % level.

    Without information, 2 n H(y) R² follows a χ² distribution with as many degrees of freedom as
    the calibration has parameters.

    Args:
        r_squared: Pseudo-R² of calibrated predictions.
        entropy: Entropy H(y) of the class shares, nats.
        rows: Number n of independent rows: duplicates count once.
        parameters: Number of parameters of the calibration.
        tests: Number of classifiers that are tested (Bonferroni).

    Examples:
        >>> exceeds_chance(0.01, 0.69, rows=100, parameters=2)
        False
        >>> exceeds_chance(0.01, 0.69, rows=1000, parameters=2)
        True
    """
    return 2 * rows * entropy * r_squared > float(chi2.isf(CHANCE_LEVEL / tests, parameters))


def compute_entropy(labels: Int[Tensor, " n"]) -> float:
    """Entropy of the class shares, nats."""
    shares = labels.bincount().double() / len(labels)
    return float(torch.special.entr(shares).sum())
