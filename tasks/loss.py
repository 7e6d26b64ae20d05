"""The `[loss]` section of a study: what training minimised."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field

import fastif
from tasks.keys import broken
from tasks.problems import Problem, show
from tasks.values import Section


def _class_weights(value: Any) -> Any:
    """`"balanced"`, or numbers of 0 or more, not all 0, as a tuple."""
    if value is None or value == "balanced":
        return value
    numbers = value if isinstance(value, list | tuple) else ()
    sound = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if not sound or not all(math.isfinite(n) and n >= 0 for n in numbers) or not any(numbers):
        expected = 'one number of 0 or more a label, not all 0, or "balanced"'
        change = "write class_weights = [1.0, 3.0], in the order of labels"
        raise broken(Problem("", expected, show(value), change))
    return tuple(float(n) for n in numbers)


class TrainingLoss(Section):
    """`[loss]`: the loss that was minimised, if it was more than plain cross-entropy.

    It shapes gradients of training rows and the curvature. Queries are judged by their plain loss.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """the share of each target that was spread over all labels"""
    class_weights: Annotated[
        Literal["balanced"] | tuple[float, ...] | None, BeforeValidator(_class_weights)
    ] = None
    """one number a label in their order, or balanced: rows / (labels x rows of the label)"""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """the weight decay of training; if left out, that of [training]"""
    weight_decay_kind: Literal["decoupled", "coupled"] = "decoupled"
    """coupled: an L2 penalty in the loss (Adam, SGD); decoupled: beside it (AdamW)"""

    @property
    def shape(self) -> dict[str, object]:
        """What the loss of an example depends on."""
        return self.model_dump(mode="json", include={"label_smoothing", "class_weights"})

    def made(self, labels: Sequence[int], classes: int) -> fastif.CrossEntropy:
        """The loss itself; `labels` are those of the training rows.

        Raises:
            InputError: balanced weights of a label that no row has.
        """
        weights = self.class_weights
        if weights == "balanced":
            weights = fastif.balanced_weights(torch.tensor(list(labels)), classes)
        return fastif.CrossEntropy(self.label_smoothing, weights)
