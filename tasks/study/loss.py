"""The `[loss]` section of a study: what training minimised."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field

import fastif
from fastif.losses import balanced_weights
from tasks.study.errors import Problem, format_value, suggest
from tasks.study.fields import Section
from tasks.study.validation_errors import make_validation_error


def _parse_class_weights(value: Any) -> Any:
    """`"balanced"`, or numbers of 0 or more, not all 0, as a tuple."""
    if value is None or value == "balanced":
        return value
    numbers = value if isinstance(value, list | tuple) else ()
    are_numbers = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if not are_numbers or not all(math.isfinite(n) and n >= 0 for n in numbers) or not any(numbers):
        expected = 'one number of 0 or more a label, not all 0, or "balanced"'
        change = (
            "write class_weights = [1.0, 3.0], in the order of labels, or {neg = 1.0, pos = 3.0}"
        )
        raise make_validation_error(Problem("", expected, format_value(value), change))
    return tuple(float(n) for n in numbers)


def order_class_weights(values: dict[str, Any]) -> Iterator[Problem]:
    """Class weights by label name, put into the order of `labels`, in place.

    Written by name they follow the labels when these are reordered; the digest of a run is that of
    the numbers.

    Yields:
        Problem: a label without a weight, or a weight of no label; then nothing is changed.
    """
    loss, labels = values.get("loss"), values.get("labels")
    if not isinstance(loss, Mapping) or not isinstance(labels, list):
        return
    weights = loss.get("class_weights")
    if not isinstance(weights, Mapping):
        return
    names = [str(label) for label in labels]
    unknown = [name for name in weights if name not in names]
    missing = [name for name in names if name not in weights]
    if not unknown and not missing:
        values["loss"] = {**loss, "class_weights": [weights[name] for name in names]}
        return
    got = (
        f"no weight for {format_value(missing[0])}"
        if missing
        else f"a weight for {format_value(unknown[0])}"
    )
    suggestion = suggest(unknown[0], names) if unknown else ""
    change = (
        f"add {format_value(missing[0])} to class_weights" if missing else suggestion or "remove it"
    )
    yield Problem("[loss] class_weights", "one number for each of labels", got, change)


class TrainingLoss(Section):
    """`[loss]`: the loss that was minimised, if it was more than plain cross-entropy.

    It shapes gradients of training rows and the curvature. Queries are judged by their plain loss.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """the share of each target that was spread over all labels"""
    class_weights: Annotated[
        Literal["balanced"] | tuple[float, ...] | None, BeforeValidator(_parse_class_weights)
    ] = None
    """one number a label in their order, or balanced: rows / (labels x rows of the label)"""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """the weight decay of training; if left out, that of [training]"""
    weight_decay_kind: Literal["decoupled", "coupled"] = "decoupled"
    """coupled: an L2 penalty in the loss (Adam, SGD); decoupled: beside it (AdamW)"""

    @property
    def example_settings(self) -> dict[str, object]:
        """What the loss of an example depends on."""
        return self.model_dump(mode="json", include={"label_smoothing", "class_weights"})

    def build(self, labels: Sequence[int], num_classes: int) -> fastif.CrossEntropy:
        """The loss itself; `labels` are those of the training rows.

        Raises:
            InputError: balanced weights of a label that no row has.
        """
        weights = self.class_weights
        if weights == "balanced":
            weights = balanced_weights(torch.tensor(list(labels)), num_classes)
        return fastif.CrossEntropy(self.label_smoothing, weights)
