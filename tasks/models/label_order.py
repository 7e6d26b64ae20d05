"""Label order: whether a model's outputs fit the labels better in another order than the study's.

A configuration that names its outputs LABEL_0, LABEL_1, ... says nothing of their order, but
predictions do: with labels in the wrong order they are wrong in a way that another order mends.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tasks.study.errors import join_some

Z_THRESHOLD = 4.0
"""Standard deviations by which rows that it puts right must outnumber those that it spoils."""
MIN_CORRECTED_ROWS = 10
"""Rows that another order must put right."""


@dataclass(frozen=True)
class LabelReordering:
    """An order of the labels that fits the predictions surely better.

    Attributes:
        accuracy: with the labels as they are.
        labels: in the better order: what each output should be read as.
        current: what it is read as.
        better_accuracy: the accuracy with the better order.
    """

    accuracy: float
    labels: tuple[str, ...]
    current: tuple[str, ...]
    better_accuracy: float

    def __str__(self) -> str:
        """A sentence for a user.

        >>> print(LabelReordering(0.08, ("pos", "neg"), ("neg", "pos"), 0.92))
        labels: another order than that of the model's outputs, it seems. 8.0 % of the training rows
        are predicted as labelled; 92.0 % if what is read as "neg" is "pos", "pos" is "neg".
        """
        moved = [
            f'"{before}" is "{after}"'
            for before, after in zip(self.current, self.labels, strict=True)
            if before != after
        ]
        return (
            "labels: another order than that of the model's outputs, it seems. "
            f"{100 * self.accuracy:.1f} % of the training rows are predicted as labelled; "
            f"{100 * self.better_accuracy:.1f} % if what is read as {join_some(moved)}."
        )


def find_better_label_order(
    given: Sequence[int], predicted: Sequence[int], labels: Sequence[str]
) -> LabelReordering | None:
    """The order of labels that agrees with most predictions, if it surely agrees with more.

    The order is the assignment of largest total in the confusion matrix (Kuhn, 1955). Rows that are
    right under one order alone are compared as in McNemar's test (1947).

    Args:
        given: label of each row, as its position in `labels`.
        predicted: output of the model with the largest logit, for each row.
        labels: of the study, in its order.
    """
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (np.asarray(given, dtype=int), np.asarray(predicted, dtype=int)), 1)
    label_at, output_of = linear_sum_assignment(counts, maximize=True)
    order = np.empty(len(labels), dtype=int)
    order[output_of] = label_at
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
    accuracy = float(counts.trace() / counts.sum())
    better = float(counts[order, np.arange(len(labels))].sum() / counts.sum())
    return LabelReordering(accuracy, tuple(labels[int(i)] for i in order), tuple(labels), better)


def _bound_by_chance(counts: np.ndarray, label_at: np.ndarray, output_of: np.ndarray) -> float:
    """The most rows in these cells, if predictions did not depend on labels.

    Mean and standard deviation of a cell are those of the hypergeometric distribution; deviations
    are added up, since cells depend on each other.
    """
    n = counts.sum()
    rows, columns = counts.sum(1)[label_at], counts.sum(0)[output_of]
    deviation = np.sqrt(rows * columns * (n - rows) / n * (n - columns) / n / max(n - 1, 1))
    return float((rows * columns / n + Z_THRESHOLD * deviation).sum())
