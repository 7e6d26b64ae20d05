"""Check of the label order, by the assignment problem on the confusion matrix (Kuhn, 1955).

Generic output names (LABEL_0, LABEL_1, ...) do not define the order of labels, but predictions
reveal it: if labels are permuted, another permutation makes the predictions correct.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tasks.study.errors import join_some

Z_THRESHOLD = 4.0
"""Minimum z-score of the difference between corrected and spoiled rows."""
MIN_CORRECTED_ROWS = 10
"""Minimum number of rows that another order corrects."""


@dataclass(frozen=True)
class LabelReordering:
    """Order of the labels that fits the predictions significantly better.

    Attributes:
        accuracy: Accuracy with the current order, 0 to 1.
        labels: Label of each output in the better order.
        current: Label of each output in the current order.
        better_accuracy: Accuracy with the better order, 0 to 1.
    """

    accuracy: float
    labels: tuple[str, ...]
    current: tuple[str, ...]
    better_accuracy: float

    def __str__(self) -> str:
        """Return a sentence for the user.

        Examples:
            >>> print(LabelReordering(0.08, ("pos", "neg"), ("neg", "pos"), 0.92))
            labels: the order seems to differ from that of the model's outputs. Accuracy on the
            training rows is 8.0 %; it would be 92.0 % with these labels exchanged: "neg" -> "pos",
            "pos" -> "neg".
        """
        moved = [
            f'"{before}" -> "{after}"'
            for before, after in zip(self.current, self.labels, strict=True)
            if before != after
        ]
        return (
            "labels: the order seems to differ from that of the model's outputs. Accuracy on the "
            f"training rows is {100 * self.accuracy:.1f} %; it would be "
            f"{100 * self.better_accuracy:.1f} % with these labels exchanged: {join_some(moved)}."
        )


def find_better_label_order(
    given: Sequence[int], predicted: Sequence[int], labels: Sequence[str]
) -> LabelReordering | None:
    """Find an order of the labels that fits the predictions significantly better.

    The order solves the assignment problem on the confusion matrix (Kuhn, 1955). Rows that are
    correct under only one of the two orders are compared as in McNemar's test (1947).

    Args:
        given: Label of each row, as position in `labels`, [n].
        predicted: Predicted class of each row, [n].
        labels: Labels of the study, in its order.

    Returns:
        The better order; None if no order is significantly better.
    """
    counts = _count_pairs(given, predicted, labels)
    order = _assign_outputs(counts)
    moved = order != np.arange(len(labels))
    correct_before = counts.diagonal()[moved].sum()
    correct_after = counts[order[moved], np.flatnonzero(moved)].sum()
    if (
        correct_after < MIN_CORRECTED_ROWS
        or correct_after - correct_before <= Z_THRESHOLD * (correct_after + correct_before) ** 0.5
    ):
        return None
    if correct_after <= _bound_by_chance(counts, order[moved], np.flatnonzero(moved)):
        return None
    return _make_reordering(counts, order, labels)


def find_best_label_order(
    given: Sequence[int], predicted: Sequence[int], labels: Sequence[str]
) -> LabelReordering:
    """Find the order of the labels that fits the predictions best, significantly or not.

    Args:
        given: Label of each row, as position in `labels`, [n].
        predicted: Predicted class of each row, [n].
        labels: Labels of the study, in its order.
    """
    counts = _count_pairs(given, predicted, labels)
    return _make_reordering(counts, _assign_outputs(counts), labels)


def _count_pairs(
    given: Sequence[int], predicted: Sequence[int], labels: Sequence[str]
) -> np.ndarray:
    """Return the confusion matrix, [given predicted]."""
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (np.asarray(given, dtype=int), np.asarray(predicted, dtype=int)), 1)
    return counts


def _assign_outputs(counts: np.ndarray) -> np.ndarray:
    """Return the label of each output that makes most predictions correct."""
    label_at, output_of = linear_sum_assignment(counts, maximize=True)
    order = np.empty(len(counts), dtype=int)
    order[output_of] = label_at
    return order


def _make_reordering(
    counts: np.ndarray, order: np.ndarray, labels: Sequence[str]
) -> LabelReordering:
    accuracy = float(counts.trace() / counts.sum())
    better = float(counts[order, np.arange(len(labels))].sum() / counts.sum())
    return LabelReordering(accuracy, tuple(labels[int(i)] for i in order), tuple(labels), better)


def _bound_by_chance(counts: np.ndarray, label_at: np.ndarray, output_of: np.ndarray) -> float:
    """Return an upper bound of the rows in these cells if predictions were independent of labels.

    Mean and standard deviation of a cell are those of the hypergeometric distribution. Deviations
    are added, since cells are dependent.
    """
    n = counts.sum()
    rows, columns = counts.sum(1)[label_at], counts.sum(0)[output_of]
    deviation = np.sqrt(rows * columns * (n - rows) / n * (n - columns) / n / max(n - 1, 1))
    return float((rows * columns / n + Z_THRESHOLD * deviation).sum())
