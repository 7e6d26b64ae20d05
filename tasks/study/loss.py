"""The section `[loss]` of a study: the loss that training minimised."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tasks.study.errors import Problem, format_value, suggest
from tasks.study.fields import Section
from tasks.study.validation_errors import make_validation_error

if TYPE_CHECKING:  # a study is read without torch
    from fastif import CrossEntropy


def _parse_class_weights(value: Any) -> Any:
    """Parse "balanced", or numbers >= 0, not all 0, to a tuple."""
    if value is None or value == "balanced":
        return value
    numbers = value if isinstance(value, list | tuple) else ()
    are_numbers = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if not are_numbers or not all(math.isfinite(n) and n >= 0 for n in numbers) or not any(numbers):
        expected = 'one number >= 0 per label, not all 0, or "balanced"'
        change = (
            "write class_weights = [1.0, 3.0], in the order of labels, or {neg = 1.0, pos = 3.0}"
        )
        raise make_validation_error(Problem("", expected, format_value(value), change))
    return tuple(float(n) for n in numbers)


def order_class_weights(values: dict[str, Any]) -> Iterator[Problem]:
    """Replace class weights by label name with a list in the order of `labels`, in place.

    Weights by name stay correct when labels are reordered; the digest of a run is computed from
    the list.

    Yields:
        Problem: Label without a weight, or weight of an unknown label; nothing is replaced then.
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
    yield Problem("[loss] class_weights", "one number for each label", got, change)


class TrainingLoss(Section):
    """`[loss]`: training loss, if it was not plain cross-entropy.

    It determines gradients of training rows and the curvature. Queries always use plain
    cross-entropy.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share of each target that is spread evenly over all labels"""
    class_weights: Annotated[
        Literal["balanced"] | tuple[float, ...] | None, BeforeValidator(_parse_class_weights)
    ] = None
    """one number per label in their order, or balanced: rows / (labels x rows of the label)"""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """weight decay of training; that of [training] if omitted"""
    weight_decay_kind: Literal["decoupled", "coupled"] = "decoupled"
    """coupled: L2 penalty in the loss (Adam, SGD); decoupled: separate from it (AdamW)"""

    @property
    def example_settings(self) -> dict[str, object]:
        """Settings that the loss of one example depends on."""
        return self.model_dump(mode="json", include={"label_smoothing", "class_weights"})

    def build(self, labels: Sequence[int], num_classes: int) -> "CrossEntropy":
        """Build the loss.

        Args:
            labels: Labels of the training rows, for balanced weights.
            num_classes: Number of classes.

        Raises:
            InputError: balanced weights, but a label without training rows.
        """
        import torch

        from fastif.losses import CrossEntropy, balanced_weights

        weights = self.class_weights
        if weights == "balanced":
            weights = balanced_weights(torch.tensor(list(labels)), num_classes)
        return CrossEntropy(self.label_smoothing, weights)
