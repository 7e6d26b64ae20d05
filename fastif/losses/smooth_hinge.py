"""Smooth hinge loss, with a second derivative, for support vector machines."""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.loss import (
    Loss,
    as_classes,
    as_outputs,
    find_invalid_classes,
    find_invalid_numbers,
)
from fastif.losses.measure import InvalidTargets
from fastif.losses.softmax_sqrt_hessian import softmax_sqrt_hessian
from fastif.numerics.arithmetic import upcast_half


@dataclass(frozen=True)
class SmoothHinge(Loss):
    """Smooth hinge loss t log(1 + exp((1 - y f) / t)), the hinge max(0, 1 - y f) for t → 0.

    For support vector machines (Koh and Liang, 2017): the hinge itself has no second derivative, so
    no influence. With one output f the sign y is +1 for a positive target and -1 for any other, so
    labels 0/1 and -1/+1 are equivalent. With c outputs it is the smooth form of the multi-class
    hinge of Crammer and Singer, max_j (f_j + [j ≠ y]) - f_y:

        L = t log Σ_j exp((f_j + [j ≠ y]) / t) - f_y

    which for two outputs equals the binary form with f = f_1 - f_0. The unit is the unit of the
    margin, not nats. It exceeds the hinge by at most t log 2, and by t log c for c outputs.

    Args:
        temperature: Smoothing t > 0. The papers use 0.001, which concentrates the curvature on the
            few examples with a margin within some t of 1; a larger t gives more stable influence.

    Raises:
        InputError: The temperature is not a finite number > 0.

    Examples:
        >>> import torch
        >>> SmoothHinge(0.1)(torch.tensor([[0.25], [1.0]]), torch.tensor([1, 1]))
        tensor([0.7501, 0.0693])
    """

    class_targets = True

    temperature: float = 1e-3

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(
                "temperature",
                "a finite number > 0",
                f"{self.temperature}",
                "Omit it for the default 0.001.",
            )

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        outputs = upcast_half(outputs)
        if outputs.shape[1] == 1:
            # Not softplus: torch linearises it above 20, which loses digits of double precision.
            return -self.temperature * F.logsigmoid(-self._violation(outputs, targets))[:, 0]
        targets = as_classes(targets, outputs)
        augmented = self._augmented_logits(outputs, targets)
        return self.temperature * F.cross_entropy(augmented, targets, reduction="none")

    def sqrt_hessian(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c r"]:
        outputs = upcast_half(outputs)
        if outputs.shape[1] == 1:
            violation = self._violation(outputs, targets)
            curvature = violation.sigmoid() * (-violation).sigmoid() / self.temperature
            return curvature.sqrt()[:, :, None]
        targets = as_classes(targets, outputs)
        return (
            softmax_sqrt_hessian(self._augmented_logits(outputs, targets)) / self.temperature**0.5
        )

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        return (
            find_invalid_numbers(targets, 1)
            if outputs == 1
            else find_invalid_classes(targets, outputs)
        )

    def _violation(
        self, outputs: Float[Tensor, "b 1"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b 1"]:
        """Scaled margin violation (1 - y f) / t of a single output."""
        sign = 2 * (as_outputs(targets, outputs) > 0).to(outputs.dtype) - 1
        return (1 - sign * outputs) / self.temperature

    def _augmented_logits(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c"]:
        """Logits (f_j + [j ≠ y]) / t; t times their softmax cross-entropy is the loss."""
        return (outputs + 1 - F.one_hot(targets, outputs.shape[1])) / self.temperature
