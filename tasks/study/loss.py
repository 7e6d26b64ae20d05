"""The section `[loss]` of a study: the loss that training minimised."""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from tasks.study.errors import Problem, format_value, suggest
from tasks.study.fields import Section
from tasks.study.validation_errors import make_validation_error

if TYPE_CHECKING:  # a study is read without torch
    from fastif.losses import Loss

LossKind = Literal["cross-entropy", "focal", "binary", "squared", "huber", "ordinal"]

KINDS_OF_TARGET: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "class": ("cross-entropy", "focal"),
        "soft-label": ("cross-entropy",),
        "multi-label": ("binary", "focal"),
        "ordinal": ("cross-entropy", "focal", "ordinal", "squared", "huber"),
        "number": ("squared", "huber"),
        "tags": ("cross-entropy",),
    }
)
"""Kinds of losses by the study's `target`, the default first. A classifier of ordered classes with
one output for each has the softmax cross-entropy; an ordinal loss has one output fewer."""

SETTINGS_OF_KIND: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "label_smoothing": ("cross-entropy",),
        "class_weights": ("cross-entropy", "focal"),
        "focal_gamma": ("focal",),
        "huber_delta": ("huber",),
        "pos_weight": ("binary",),
        "ordinal_kind": ("ordinal",),
        "reduction": ("binary", "focal", "squared", "huber"),
    }
)
"""Kinds of losses that each setting belongs to."""


def _parse_class_weights(value: Any) -> Any:
    """Parse "balanced", or numbers >= 0, not all 0, to a tuple."""
    if value == "balanced":
        return value
    expected = 'one number >= 0 per label, not all 0, or "balanced"'
    return _parse_weights(value, "class_weights", expected)


def _parse_pos_weight(value: Any) -> Any:
    """Parse numbers >= 0, not all 0, to a tuple; a 0 is refused with the settings of the kind."""
    return _parse_weights(value, "pos_weight", "one number > 0 per label")


def _parse_weights(value: Any, name: str, expected: str) -> Any:
    if value is None:
        return value
    numbers = value if isinstance(value, list | tuple) else ()
    are_numbers = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if not are_numbers or not all(math.isfinite(n) and n >= 0 for n in numbers) or not any(numbers):
        change = f"write {name} = [1.0, 3.0], in the order of labels, or {{neg = 1.0, pos = 3.0}}"
        raise make_validation_error(Problem("", expected, format_value(value), change))
    return tuple(float(n) for n in numbers)


def order_class_weights(values: dict[str, Any]) -> Iterator[Problem]:
    """Replace weights by label name with a list in the order of `labels`, in place.

    Weights by name stay correct when labels are reordered; the digest of a run is computed from
    the list.

    Yields:
        Problem: Label without a weight, or weight of an unknown label; nothing is replaced then.
    """
    loss, labels = values.get("loss"), values.get("labels")
    if not isinstance(loss, Mapping) or not isinstance(labels, list):
        return
    names = [str(label) for label in labels]
    for key in ("class_weights", "pos_weight"):
        weights = loss.get(key)
        if not isinstance(weights, Mapping):
            continue
        problem = _check_names(key, weights, names)
        if problem is None:
            loss = {**loss, key: [weights[name] for name in names]}
            values["loss"] = loss
        else:
            yield problem


def _check_names(key: str, weights: Mapping[str, Any], names: list[str]) -> Problem | None:
    """Return the problem of weights by name that are not one for each label; None without."""
    unknown = [name for name in weights if name not in names]
    missing = [name for name in names if name not in weights]
    if not unknown and not missing:
        return None
    got = (
        f"no weight for {format_value(missing[0])}"
        if missing
        else f"a weight for {format_value(unknown[0])}"
    )
    suggestion = suggest(unknown[0], names) if unknown else ""
    change = f"add {format_value(missing[0])} to {key}" if missing else suggestion or "remove it"
    return Problem(f"[loss] {key}", "one number for each label", got, change)


class TrainingLoss(Section):
    """`[loss]`: training loss, if it was not the usual one of the target (plain cross-entropy).

    It determines gradients of training rows and the curvature. Queries of one class always use
    plain cross-entropy.
    """

    kind: LossKind | None = None
    """training loss; by default cross-entropy for classes, binary for several labels, squared for
    numbers"""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share of each target that is spread evenly over all labels"""
    class_weights: Annotated[
        Literal["balanced"] | tuple[float, ...] | None, BeforeValidator(_parse_class_weights)
    ] = None
    """one number per label in their order, or balanced: rows / (labels x rows of the label)"""
    focal_gamma: Annotated[float, Field(ge=0)] | None = None
    """exponent of the focal loss; 2 if omitted"""
    huber_delta: Annotated[float, Field(gt=0)] | None = None
    """residual at the corner of the Huber loss; 1 if omitted"""
    pos_weight: Annotated[tuple[float, ...] | None, BeforeValidator(_parse_pos_weight)] = None
    """weight of the value 1 of each label, for several labels a row"""
    ordinal_kind: Literal["coral", "corn", "cumulative"] | None = None
    """what the outputs of an ordinal loss mean; coral if omitted"""
    reduction: Literal["sum", "mean"] | None = None
    """combination of the losses of several outputs a row; mean, as torch has it, if omitted"""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """weight decay of training; that of [training] if omitted"""
    weight_decay_kind: Literal["decoupled", "coupled"] = "decoupled"
    """coupled: L2 penalty in the loss (Adam, SGD); decoupled: separate from it (AdamW)"""

    @property
    def example_settings(self) -> dict[str, object]:
        """Settings that the loss of one example depends on; the newer ones only if they are set.

        A study without them keeps the name of its run.
        """
        always = self.model_dump(mode="json", include={"label_smoothing", "class_weights"})
        newer = self.model_dump(mode="json", include=set(SETTINGS_OF_KIND) | {"kind"})
        is_default = {"kind": "cross-entropy"}
        return always | {
            name: value
            for name, value in newer.items()
            if name not in always and value is not None and value != is_default.get(name)
        }

    def find_contradictions(self, target: str) -> Iterator[Problem]:
        """Find settings that do not belong to the target or to the kind of the loss.

        Args:
            target: Kind of the study's targets.
        """
        kinds = KINDS_OF_TARGET[target]
        kind = self.kind or kinds[0]
        if kind not in kinds:
            names = " or ".join(format_value(name) for name in kinds)
            change = "correct `target`, or state the loss with which the model was trained"
            yield Problem(
                "[loss] kind", f"{names} for the target {target!r}", format_value(kind), change
            )
            return
        for name, owners in SETTINGS_OF_KIND.items():
            value = getattr(self, name)
            is_set = value is not None and (value != 0 or name != "label_smoothing")
            if not is_set or kind in owners:
                continue
            names = " or ".join(format_value(owner) for owner in owners)
            got = format_value(kind) + ("" if self.kind else f", for the target {target!r}")
            change = f"remove {name}, or correct the kind"
            yield Problem(f"[loss] {name}", f"the kind {names}", got, change)
        if self.pos_weight is not None and not all(self.pos_weight):
            expected, change = "numbers > 0", "correct the weight of 0"
            yield Problem("[loss] pos_weight", expected, format_value(self.pos_weight), change)
        if target == "tags" and self.class_weights == "balanced":
            expected, change = "numbers for tags of words", "write one number for each label"
            yield Problem("[loss] class_weights", expected, '"balanced"', change)
        if kind == "focal" and target != "multi-label" and self.reduction is not None:
            expected, change = "several labels a row", "remove reduction"
            yield Problem("[loss] reduction", expected, f"the target {target!r}", change)

    def find_wrong_counts(self, labels: int) -> Iterator[Problem]:
        """Find weights that differ in number from the labels."""
        for name in ("class_weights", "pos_weight"):
            weights = getattr(self, name)
            if isinstance(weights, tuple) and len(weights) != labels:
                expected = f"{labels} numbers, one for each label"
                change = "give one number per label, in the order of labels"
                yield Problem(f"[loss] {name}", expected, format_value(list(weights)), change)

    def compute_class_weights(
        self, labels: Sequence[int], num_classes: int
    ) -> tuple[float, ...] | None:
        """Return the class weights as numbers; None without any.

        Raises:
            InputError: balanced weights, but a label without training rows.
        """
        if self.class_weights != "balanced":
            return self.class_weights
        import torch

        from fastif.losses import balanced_weights

        return balanced_weights(torch.tensor(list(labels)), num_classes)

    def build(self, targets: Sequence[Any], outputs: int, target_kind: str = "class") -> "Loss":
        """Build the loss.

        Args:
            targets: Targets of the training rows, for balanced weights of classes.
            outputs: Number of labels (classes, also of an ordinal loss with one output fewer), or
                of numbers a row.
            target_kind: Kind of the study's targets, a key of `KINDS_OF_TARGET`.

        Raises:
            InputError: balanced weights, but a label without training rows or no class numbers; or
                a setting that does not belong to the target or to the kind.
        """
        from fastif import InputError

        for problem in self.find_contradictions(target_kind):
            raise InputError(problem.where, problem.expected, problem.got, problem.remedy)
        if self.class_weights == "balanced" and target_kind == "soft-label":
            raise InputError(
                "[loss] class_weights",
                "numbers for targets that are probabilities",
                '"balanced"',
                "Write one number for each label.",
            )
        return _make_loss(self, targets, outputs, target_kind)


def _make_loss(stated: TrainingLoss, targets: Sequence[Any], outputs: int, target: str) -> "Loss":
    from fastif import losses

    kind = stated.kind or KINDS_OF_TARGET[target][0]
    reduction = stated.reduction or "mean"
    gamma = 2.0 if stated.focal_gamma is None else stated.focal_gamma
    if kind == "binary":
        return losses.BinaryCrossEntropy(stated.pos_weight, reduction)
    if kind == "focal" and target == "multi-label":
        return losses.BinaryFocalLoss(gamma, reduction=reduction)
    if kind == "squared":
        return losses.SquaredError(reduction)
    if kind == "huber":
        return losses.Huber(stated.huber_delta or 1.0, reduction)
    if kind == "ordinal":
        return losses.OrdinalCrossEntropy(stated.ordinal_kind or "coral", outputs)
    weights = stated.compute_class_weights(targets, outputs)
    if kind == "focal":
        return losses.FocalLoss(gamma, weights)
    word_loss = losses.CrossEntropy(stated.label_smoothing, weights)
    return losses.TokenCrossEntropy(word_loss) if target == "tags" else word_loss
