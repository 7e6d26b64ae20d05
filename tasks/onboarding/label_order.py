"""Labels in the order of the model's outputs: by their names, checked by its predictions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from fastif import InputError
from tasks.models.label_order import find_better_label_order
from tasks.onboarding.label_names import (
    are_generic,
    fill_order,
    order_by_names,
    order_by_numbers,
    sort_values,
)
from tasks.study.errors import format_value, join_some

CHANCE_DEVIATIONS = 3.0
"""Standard deviations above the most frequent label that make an accuracy better than chance."""


@dataclass(frozen=True)
class LabelOrder:
    """Labels of a study in the order of the model's outputs.

    Attributes:
        labels: Label of each output.
        basis: Source of the order, such as the model's id2label.
        accuracy: Share of the sampled rows that are predicted correctly; None without a trial.
        rows: Number of sampled rows.
        warning: Reason to doubt the order or the model; empty if there is none.
        is_certain: Whether names or predictions leave no doubt.
    """

    labels: tuple[str, ...]
    basis: str
    accuracy: float | None = None
    rows: int = 0
    warning: str = ""
    is_certain: bool = True


def order_labels(
    values: Collection[str],
    names: Sequence[str],
    given: Sequence[str],
    predicted: np.ndarray,
    place: str,
) -> LabelOrder:
    """Order the label values of the tables like the model's outputs.

    Args:
        values: Label values of both tables.
        names: Names of the model's outputs, in order.
        given: Label values of the sampled rows.
        predicted: Output unit that the model predicts for each of them.
        place: Name of the label column and its table, for messages.

    Raises:
        InputError: There are more label values than outputs.
    """
    if len(values) > len(names):
        raise InputError(
            place,
            f"at most {len(names)} labels, the outputs of the model: {join_some(names)}",
            f"{len(values)}: {join_some(map(format_value, sort_values(values)))}",
            "Name another column with --label, or remove the rows whose label the model lacks.",
        )
    labels, basis, is_named = _order_without_predictions(values, names)
    units = [labels.index(value) for value in given]
    accuracy = float((np.array(units) == predicted).mean())
    better = find_better_label_order(units, predicted.tolist(), labels)
    is_chance = _is_chance(accuracy, units)
    if better is None:
        warning = _warn_chance(accuracy, len(given)) if is_chance else ""
        certain = is_named or not is_chance
        return LabelOrder(labels, basis, accuracy, len(given), warning, certain)
    if is_named:
        return LabelOrder(labels, basis, accuracy, len(given), _warn_order(better), False)
    basis = (
        f"found by the predictions: {100 * better.better_accuracy:.0f} % are right, in the order "
        f"of {basis} {100 * accuracy:.0f} %"
    )
    return LabelOrder(better.labels, basis, better.better_accuracy, len(given))


def _order_without_predictions(
    values: Collection[str], names: Sequence[str]
) -> tuple[tuple[str, ...], str, bool]:
    """Return the order, how it was inferred, and whether the model's own names tell it."""
    by_name = order_by_names(values, names)
    if by_name is not None:
        return fill_order(by_name, names), "the model's id2label", not are_generic(names)
    by_number = order_by_numbers(values, len(names))
    if by_number is not None:
        labels = tuple(
            str(unit) if value is None else value for unit, value in enumerate(by_number)
        )
        return labels, "their numbers", False
    ordered: list[str | None] = [*sort_values(values)]
    ordered += [None] * (len(names) - len(ordered))
    return fill_order(ordered, names), "the alphabet", False


def _is_chance(accuracy: float, units: Sequence[int]) -> bool:
    """Whether an accuracy is no better than that of the most frequent label."""
    counts = np.bincount(units)
    share = counts.max() / counts.sum()
    deviation = (share * (1 - share) / len(units)) ** 0.5
    return accuracy <= min(share + CHANCE_DEVIATIONS * deviation, 0.995)


def _warn_chance(accuracy: float, rows: int) -> str:
    return (
        f"Only {100 * accuracy:.0f} % of {rows} sampled training rows are predicted correctly, no "
        "better than chance: is this the model that was trained on this table, and on this text?"
    )


def _warn_order(better) -> str:
    return (
        f"The model's id2label contradicts its predictions. {better} Correct id2label in its "
        "config.json, or the labels of the table."
    )
