"""Labels in the order of the model's outputs: by their names, checked by its predictions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastif import InputError
from tasks.models.label_order import (
    LabelReordering,
    find_best_label_order,
    find_better_label_order,
)
from tasks.onboarding.label_doubts import describe_spellings
from tasks.onboarding.label_names import (
    are_generic,
    fill_order,
    order_by_names,
    order_by_numbers,
    sort_values,
)
from tasks.onboarding.questions import Answers, Question
from tasks.study.errors import format_value, join_some

PERMUTATIONS, P_VALUE = 1000, 0.01
"""Number of permutations, and significance level, of the test that predictions are informative."""


@dataclass(frozen=True)
class LabelOrder:
    """Labels of a study in the order of the model's outputs.

    Attributes:
        labels: Label of each output.
        basis: Source of the order, such as the model's id2label.
        accuracy: Share of the sampled rows that are predicted correctly; None without a trial.
        rows: Number of sampled rows.
        warning: Reason to doubt the order or the model; empty if there is none.
        alternatives: Other plausible orders; empty if names or predictions leave no doubt.
        doubt: Reason to doubt the values; empty if there is none.
    """

    labels: tuple[str, ...]
    basis: str
    accuracy: float | None = None
    rows: int = 0
    warning: str = ""
    alternatives: tuple[tuple[str, ...], ...] = ()
    doubt: str = ""

    @property
    def is_certain(self) -> bool:
        """Whether names, predictions and values leave no doubt."""
        return not self.alternatives and not self.doubt


def order_labels(
    values: Collection[str],
    names: Sequence[str],
    given: Sequence[str],
    predicted: np.ndarray,
    place: str,
    answers: Answers,
) -> LabelOrder:
    """Order the label values of the tables like the model's outputs.

    Args:
        values: Label values of both tables.
        names: Names of the model's outputs, in order.
        given: Label values of the sampled rows.
        predicted: Output unit that the model predicts for each of them.
        place: Name of the label column and its table, for messages.
        answers: Source of the answer if neither names nor predictions tell the order.

    Raises:
        InputError: There are more label values than outputs.
    """
    if len(values) > len(names):
        raise InputError(
            place,
            f"at most {len(names)} labels, the outputs of the model: {join_some(names)}",
            f"{len(values)}: {join_some(map(format_value, sort_values(values)))}",
            describe_spellings(values)
            or "Name another column with --label, or remove the rows whose label the model lacks.",
        )
    labels, basis, is_named = _order_without_predictions(values, names)
    units = np.array([labels.index(value) for value in given])
    accuracy = float((units == predicted).mean())
    better = find_better_label_order(units.tolist(), predicted.tolist(), labels)
    order = LabelOrder(labels, basis, accuracy, len(given))
    if better is not None and is_named:
        return replace(order, warning=_warn_order(better), alternatives=(better.labels,))
    if better is not None:
        basis = (
            f"the predictions: {100 * better.better_accuracy:.0f} % are right, with the order by "
            f"{basis} {100 * accuracy:.0f} %"
        )
        return LabelOrder(better.labels, basis, better.better_accuracy, len(given))
    if not is_chance(units, predicted):
        return order
    best = find_best_label_order(units.tolist(), predicted.tolist(), labels)
    order = replace(order, warning=_warn_chance(order, best))
    return order if is_named else _ask_order(order, best, place, answers)


def _ask_order(
    order: LabelOrder, best: LabelReordering, place: str, answers: Answers
) -> LabelOrder:
    """Ask for the order if the predictions do not tell it."""
    orders = [*dict.fromkeys([order.labels, best.labels, order.labels[::-1]])]
    prompt = f"Which order of the labels in {place} do the outputs of the model have?"
    choice = answers.choose(Question("labels", prompt, [", ".join(labels) for labels in orders]))
    if answers.are_certain:
        return replace(order, labels=orders[choice], basis="your answer")
    return replace(order, alternatives=tuple(orders[1:]))


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


def is_chance(units: np.ndarray, predicted: np.ndarray) -> bool:
    """Whether predictions agree with the labels no better than permuted ones (permutation test)."""
    generator = np.random.default_rng(0)
    permuted = [(units == generator.permutation(predicted)).mean() for _ in range(PERMUTATIONS)]
    return float((units == predicted).mean()) <= float(np.quantile(permuted, 1 - P_VALUE))


def _warn_chance(order: LabelOrder, best: LabelReordering) -> str:
    warning = (
        f"Only {100 * (order.accuracy or 0):.0f} % of {order.rows} sampled training rows are "
        "predicted correctly, no better than chance: is this the model that was trained on this "
        "table, and on this text?"
    )
    if best.labels == order.labels:
        return warning
    return (
        f"{warning} The best order, {join_some(best.labels)}, gives "
        f"{100 * best.better_accuracy:.0f} %."
    )


def _warn_order(better: LabelReordering) -> str:
    return (
        f"The predictions contradict the labels' order. {better} Correct id2label in the model's "
        "config.json, or the labels of the table."
    )
