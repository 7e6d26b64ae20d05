"""Label order: whether a model's outputs fit the labels better in another order than the study's.

A configuration that names its outputs LABEL_0, LABEL_1, ... says nothing of their order, but
predictions do: with labels in the wrong order they are wrong in a way that another order mends.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tasks.study.errors import listed

SURE = 4.0
"""Standard deviations by which rows that it puts right must outnumber those that it spoils."""
FEWEST = 10
"""Rows that another order must put right."""


@dataclass(frozen=True)
class OtherOrder:
    """An order of the labels that fits the predictions surely better.

    Attributes:
        accuracy: with the labels as they are.
        labels: in the better order: what each output should be read as.
        read: what it is read as.
        better: the accuracy with the better order.
    """

    accuracy: float
    labels: tuple[str, ...]
    read: tuple[str, ...]
    better: float

    def __str__(self) -> str:
        """A sentence for a user.

        >>> print(OtherOrder(0.08, ("pos", "neg"), ("neg", "pos"), 0.92))
        labels: another order than that of the model's outputs, it seems. 8.0 % of the training rows
        are predicted as labelled; 92.0 % if what is read as "neg" is "pos", "pos" is "neg".
        """
        moved = [
            f'"{was}" is "{is_}"'
            for was, is_ in zip(self.read, self.labels, strict=True)
            if was != is_
        ]
        return (
            "labels: another order than that of the model's outputs, it seems. "
            f"{100 * self.accuracy:.1f} % of the training rows are predicted as labelled; "
            f"{100 * self.better:.1f} % if what is read as {listed(moved)}."
        )


def other_order(
    given: Sequence[int], predicted: Sequence[int], labels: Sequence[str]
) -> OtherOrder | None:
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
    place = np.empty(len(labels), dtype=int)
    place[output_of] = label_at
    moved = place != np.arange(len(labels))
    right = counts.diagonal()[moved].sum()
    mended = counts[place[moved], np.flatnonzero(moved)].sum()
    if mended < FEWEST or mended - right <= SURE * (mended + right) ** 0.5:
        return None
    if mended <= _by_chance(counts, place[moved], np.flatnonzero(moved)):
        return None
    accuracy = float(counts.trace() / counts.sum())
    better = float(counts[place, np.arange(len(labels))].sum() / counts.sum())
    return OtherOrder(accuracy, tuple(labels[int(i)] for i in place), tuple(labels), better)


def _by_chance(counts: np.ndarray, label_at: np.ndarray, output_of: np.ndarray) -> float:
    """The most rows in these cells, if predictions did not depend on labels.

    Mean and standard deviation of a cell are those of the hypergeometric distribution; deviations
    are added up, since cells depend on each other.
    """
    n = counts.sum()
    rows, columns = counts.sum(1)[label_at], counts.sum(0)[output_of]
    spread = np.sqrt(rows * columns * (n - rows) / n * (n - columns) / n / max(n - 1, 1))
    return float((rows * columns / n + SURE * spread).sum())
