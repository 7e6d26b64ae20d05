"""Softmax cross-entropy with label smoothing and class weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.loss import (
    Loss,
    as_classes,
    as_weights,
    find_invalid_classes,
    find_invalid_numbers,
)
from fastif.losses.measure import InvalidTargets, report_invalid_rows
from fastif.losses.softmax_sqrt_hessian import softmax_sqrt_hessian
from fastif.numerics.arithmetic import upcast_half
from fastif.numerics.deferred_checks import assume_all


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy, -log softmax(outputs)[target], in nats.

    With label smoothing ε and class weights w it is, as in torch with `reduction="none"`,

        L = -Σ_c q_c log π_c,    q_c = w_c ((1-ε) [c = target] + ε/C)

    so its Hessian in the outputs is (Σ_c q_c) (diag(π) - ππᵀ): target and smoothing only scale it.
    Its factor `sqrt_hessian` is the closed-form Cholesky factor with c - 1 columns (Tanabe and
    Sagae, 1992). Targets are class numbers [b], or probabilities [b c] (soft labels).

    torch's `reduction="mean"` divides by the sum of the weights, the mean here by the number of
    examples. Both agree for weights with mean one over the training set, such as
    `balanced_weights`. Others scale loss and curvature by the same factor, but not the damping.

    Args:
        label_smoothing: Smoothing ε, from 0 to 1.
        class_weights: Weights w, one for each output, as any sequence of numbers; 1 by default.

    Raises:
        InputError: A number is out of range; on first use, if the weights differ in number from the
            outputs.

    Examples:
        >>> outputs = torch.tensor([[0.3, -1.0, 0.5]], dtype=torch.float64)
        >>> probability = outputs.softmax(1)[0]
        >>> factor = CrossEntropy().sqrt_hessian(outputs, torch.tensor([0]))[0]
        >>> hessian = probability.diag() - probability.outer(probability)
        >>> factor.shape, torch.allclose(factor @ factor.T, hessian)
        (torch.Size([3, 2]), True)
    """

    class_targets = True

    label_smoothing: float = 0.0
    class_weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing <= 1:
            raise InputError(
                "label_smoothing",
                "a number from 0 to 1",
                f"{self.label_smoothing}",
                "Set the smoothing with which the model was trained, such as 0.1.",
            )
        object.__setattr__(self, "class_weights", check_class_weights(self.class_weights))

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        outputs = upcast_half(outputs)
        soft = targets.is_floating_point() and targets.dim() > 1
        return F.cross_entropy(
            outputs,
            _as_class_probabilities(targets, outputs) if soft else as_classes(targets, outputs),
            self._weights(outputs),
            reduction="none",
            label_smoothing=self.label_smoothing,
        )

    def sqrt_hessian(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c r"]:
        outputs = upcast_half(outputs)
        factor = softmax_sqrt_hessian(outputs)
        total_weight = self._total_weight(outputs, targets)
        return factor if total_weight is None else factor * total_weight.sqrt()[:, None, None]

    def _total_weight(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"] | None:
        """Total weight Σ_c q_c of each example; None if it is 1 for all."""
        weights, soft = self._weights(outputs), targets.is_floating_point() and targets.dim() > 1
        targets = (
            _as_class_probabilities(targets, outputs) if soft else as_classes(targets, outputs)
        )
        if weights is None and not soft:
            return None
        weights = outputs.new_ones(outputs.shape[1]) if weights is None else weights
        target_weight = targets.to(weights.dtype) @ weights if soft else weights[targets]
        return (1 - self.label_smoothing) * target_weight + self.label_smoothing * weights.mean()

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        if not targets.is_floating_point() or targets.dim() == 1:
            return find_invalid_classes(targets, outputs)
        below = (targets < 0).reshape(len(targets), -1).any(1)
        return find_invalid_numbers(targets, outputs) or report_invalid_rows("probabilities", below)

    def _weights(self, outputs: Float[Tensor, "b c"]) -> Float[Tensor, " c"] | None:
        if self.class_weights is None:
            return None
        return as_weights(self.class_weights, outputs, "class_weights")


def _as_class_probabilities(
    targets: Float[Tensor, "b c"], outputs: Float[Tensor, "b c"]
) -> Float[Tensor, "b c"]:
    """Check targets that are class probabilities.

    Raises:
        InputError: A probability is negative or not finite, or they differ in number from the
            outputs.
    """
    if targets.shape != outputs.shape or not assume_all(targets >= 0):
        raise InputError(
            "targets",
            f"{outputs.shape[1]} probabilities a row, one for each output",
            f"shape {tuple(targets.shape)}, smallest value {float(targets.min()):g}",
            "Correct these targets, or remove the rows.",
        )
    return targets.to(outputs.dtype)


def check_class_weights(class_weights: Sequence[float] | None) -> tuple[float, ...] | None:
    """Return class weights as a tuple, which can be hashed; None stays None.

    Raises:
        InputError: A weight is negative or not finite, or all are 0.
    """
    if class_weights is None:
        return None
    weights = tuple(float(weight) for weight in class_weights)
    if not all(math.isfinite(w) and w >= 0 for w in weights) or not any(weights):
        raise InputError(
            "class_weights",
            "finite numbers of 0 or more, not all 0",
            f"{weights}",
            "Set the weights with which the model was trained.",
        )
    return weights


def balanced_weights(labels: Int[Tensor, " n"], classes: int) -> tuple[float, ...]:
    """Balanced class weights n / (C n_c), as "balanced" in scikit-learn.

    Every class has the same total weight, and the mean weight over the n examples is one.

    Raises:
        InputError: A class has no example, so its weight would be infinite.

    Examples:
        >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
        (0.6666666666666666, 2.0)
    """
    counts = torch.bincount(labels, minlength=classes).tolist()
    if len(counts) > classes or 0 in counts:
        raise InputError(
            "class_weights",
            f"training examples of each of the {classes} classes, and of no other",
            f"{counts} examples by class",
            "Set the weights as numbers, or add examples of the missing class.",
        )
    return tuple(len(labels) / (classes * count) for count in counts)
