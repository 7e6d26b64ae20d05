"""Interpretation of one number a class: probabilities, percentages, log-probabilities or scores."""

from collections.abc import Sequence

import numpy as np

from fastif import InputError
from tasks.mislabels.class_positions import is_contradicted
from tasks.mislabels.predicted_columns import MIN_PROBABILITY, WHERE, ClassifierColumn
from tasks.study.errors import join_some

MAX_SUM_ERROR = 0.02
"""Largest deviation of the sum of a row's probabilities from 1, such as by rounding."""
LEAST = 1e-3
"""Least probability: a smaller one, such as 0, is no stronger evidence."""
MAX_LOGIT = 30.0
"""Largest distance of a logit from the mean of its row, in standard deviations."""


def interpret_numbers(name: str, numbers: np.ndarray) -> ClassifierColumn:
    """Interpret one number a class and row, by their range and the sums of the rows.

    Probabilities sum to 1, percentages to 100, exponentials of log-probabilities to 1. Other
    numbers from 0 to 1 are separate scores of the classes, all others are logits.

    Args:
        name: Entry of `[mislabels] judges`.
        numbers: Numbers by row and label of the study, NaN for empty cells, [n, c].

    Raises:
        InputError: A row is filled in part, numbers are infinite, or all cells are empty.
    """
    is_missing = np.isnan(numbers)
    _check_complete(name, is_missing)
    present = numbers[~is_missing.any(1)]
    finite = present[np.isfinite(present)]
    is_log = bool((present <= 1e-6).all()) and _sum_to(np.exp(present).sum(1), 1.0)
    if len(finite) < present.size and not is_log:
        row = int((np.isinf(numbers)).any(1).argmax()) + 1
        raise InputError(f"{WHERE}: {name}", "finite numbers", f"infinity in row {row}",
                         "Correct the cell, or empty the row.")  # fmt: skip
    if is_log:
        return _make(name, "log-probabilities", np.maximum(numbers, np.log(LEAST)))
    is_positive = bool((present >= 0).all())
    for total, kind in ((1.0, "probabilities"), (100.0, "percentages")):
        if is_positive and _sum_to(present.sum(1) / total, 1.0):
            return _make(name, kind, np.log(np.maximum(numbers / total, LEAST)))
    if is_positive and bool((present <= 1).all()):
        clipped = np.clip(numbers, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        kind = "scores from 0 to 1 that do not sum to 1"
        return _make(name, kind, np.log(clipped) - np.log1p(-clipped))
    return _make(name, "logits", _scale(numbers, present))


def check_order(column: ClassifierColumn, given: np.ndarray, labels: Sequence[str]) -> None:
    """Refuse numbers without names whose order is that of other classes.

    Raises:
        InputError: The largest numbers agree better with the given labels in another order.
    """
    assert column.outputs is not None
    has = ~np.isnan(column.outputs).any(1)
    if is_contradicted(column.outputs[has].argmax(1), given[has], len(labels)):
        raise InputError(
            f"{WHERE}: {column.name}",
            f"numbers in the order of labels: {join_some(labels, 6)}",
            "numbers that agree better with the given labels in another order",
            f"Write a column a class, named {column.name}_{labels[0]} and so on.",
        )


def _check_complete(name: str, is_missing: np.ndarray) -> None:
    if is_missing.all():
        raise InputError(
            f"{WHERE}: {name}",
            "one or more rows with a prediction",
            f"{len(is_missing)} empty rows",
            "Fill the columns, or remove it.",
        )
    partial = is_missing.any(1) & ~is_missing.all(1)
    if partial.any():
        raise InputError(
            f"{WHERE}: {name}",
            "a number for each class, or for none, in every row",
            f"{int(partial.sum()):,} rows with numbers for some classes, such as row "
            f"{int(partial.argmax()) + 1}",
            "Fill these rows, or empty them.",
        )


def _sum_to(sums: np.ndarray, total: float) -> bool:
    return bool((np.abs(sums - total) <= MAX_SUM_ERROR).all())


def _scale(numbers: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Scale logits to standard deviation 1 about the means of their rows."""
    largest = np.abs(present).max()
    if largest == 0:
        return numbers
    centred = numbers / largest - (numbers / largest).mean(1, keepdims=True)
    spread = centred[~np.isnan(centred)].std()
    return np.clip(centred / spread if spread else centred, -MAX_LOGIT, MAX_LOGIT)


def _make(name: str, kind: str, outputs: np.ndarray) -> ClassifierColumn:
    return ClassifierColumn(name, f"{kind} of the classes", outputs=outputs)
