"""Class positions of an external classifier, checked against the given labels."""

import numpy as np
from scipy.optimize import linear_sum_assignment

SIGNIFICANT = 3.0
"""Excess over chance, or over another order, in standard deviations of a count."""


def decode_positions(values: np.ndarray, given: np.ndarray, classes: int) -> np.ndarray | None:
    """Decode whole numbers as class positions, counted from 0 or from 1; -1 for NaN.

    None if neither reading, or both, agree with the given labels: more often than by chance, and
    not less often than under another order of the classes (assignment problem, Kuhn, 1955).

    Args:
        values: Whole numbers from 0 to c, or NaN, [n].
        given: Position of each row's given label, [n].
        classes: Number of classes c.

    >>> given = np.array([0, 1, 2] * 20)
    >>> decode_positions(given + 1.0, given, 3)[:3], decode_positions(2.0 - given, given, 3)
    (array([0, 1, 2]), None)
    """
    has = ~np.isnan(values)
    readings = []
    for first in (0, 1):
        positions = np.where(has, values - first, -1).astype(int)
        is_within = ((positions[has] >= 0) & (positions[has] < classes)).all()
        if is_within and is_verified(positions[has], given[has], classes):
            readings.append(positions)
    return readings[0] if len(readings) == 1 else None


def is_verified(predicted: np.ndarray, given: np.ndarray, classes: int) -> bool:
    """Whether predictions agree with the given labels more than by chance, in no other order."""
    counts = count_pairs(predicted, given, classes)
    agreeing = counts.trace()
    expected = float(counts.sum(1) @ counts.sum(0)) / max(1.0, counts.sum())
    return bool(
        (counts.sum(1) > 0).sum() > 1
        and agreeing - expected > SIGNIFICANT * np.sqrt(max(expected, 1.0))
        and not is_contradicted(predicted, given, classes)
    )


def is_contradicted(predicted: np.ndarray, given: np.ndarray, classes: int) -> bool:
    """Whether predictions agree significantly more with the labels in another order."""
    counts = count_pairs(predicted, given, classes)
    best = counts[linear_sum_assignment(-counts)].sum()
    return bool(best - counts.trace() > SIGNIFICANT * np.sqrt(max(best, 1.0)))


def count_pairs(predicted: np.ndarray, given: np.ndarray, classes: int) -> np.ndarray:
    """Number of rows by prediction and given label, [c, c]."""
    pairs = np.bincount(predicted * classes + given, minlength=classes**2)
    return pairs.reshape(classes, classes).astype(float)
