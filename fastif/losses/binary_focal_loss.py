"""Focal loss of independent outputs, for multi-label classification."""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.focal_curvature import check_gamma, compute_focal_curvature
from fastif.losses.loss import (
    Loss,
    as_outputs,
    check_reduction,
    find_invalid_numbers,
    make_diagonal_factor,
    reduce_outputs,
)
from fastif.losses.measure import InvalidTargets, report_invalid_rows
from fastif.numerics.arithmetic import upcast_half
from fastif.numerics.deferred_checks import assume_all


@dataclass(frozen=True)
class BinaryFocalLoss(Loss):
    """Focal loss of c independent labels, Σ_c -a_c (1 - p_c)^γ log p_c (Lin et al., 2017), in nats.

    p_c is the probability of the given value of label c, σ(z_c) for 1 and σ(-z_c) for 0, and a_c
    is α for 1 and 1 - α for 0, as in the focal loss of torchvision. The Hessian in the outputs
    is diagonal. It is negative where p_c is small (below 0.058 for γ = 2), and there its factor
    `sqrt_hessian` is zero: the factor is the root of the positive part of the Hessian, so
    `GaussNewton` leaves out the most wrongly predicted labels, and `Hessian` has both signs.
    Targets are 0 or 1, of shape [b c]; [b] for a single output.

    Args:
        gamma: Exponent γ of 0 or more; 0 is the binary cross-entropy, weighted by a_c.
        alpha: Weight α of the value 1, between 0 and 1; None for weights of one.
        reduction: "sum" or "mean" over the labels.

    Raises:
        InputError: A number is out of range, or targets are not 0 or 1, one for each output.

    Examples:
        >>> import torch
        >>> BinaryFocalLoss(2.0)(torch.tensor([[0.0]]), torch.tensor([1]))  # 1/4 log 2
        tensor([0.1733])
    """

    gamma: float = 2.0
    alpha: float | None = None
    reduction: str = "sum"

    def __post_init__(self) -> None:
        check_gamma(self.gamma)
        check_reduction(self.reduction)
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise InputError(
                "alpha",
                "a number between 0 and 1",
                f"{self.alpha}",
                "Set the weight with which the model was trained, such as 0.25.",
            )

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        outputs = upcast_half(outputs)
        signed, weight = self._sign_outputs(outputs, targets)
        power = (self.gamma * F.logsigmoid(-signed)).exp()
        return reduce_outputs(-weight * power * F.logsigmoid(signed), self.reduction)

    def sqrt_hessian(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c r"]:
        outputs = upcast_half(outputs)
        signed, weight = self._sign_outputs(outputs, targets)
        _, along = compute_focal_curvature(F.logsigmoid(-signed), self.gamma)
        curvature = along.clamp_min(0) * signed.sigmoid() * (-signed).sigmoid()
        return make_diagonal_factor(weight * curvature, self.reduction)

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        other = ((targets != 0) & (targets != 1)).reshape(len(targets), -1).any(1)
        return find_invalid_numbers(targets, outputs) or report_invalid_rows("0 or 1", other)

    def _sign_outputs(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
        """Return the logits of the given values, and the weights a_c."""
        values = as_outputs(targets, outputs)
        if not assume_all((values == 0) | (values == 1)):
            raise InputError(
                "targets",
                "0 or 1",
                f"values from {float(values.min()):g} to {float(values.max()):g}",
                "Write 0 for no and 1 for yes; probabilities have no focal loss.",
            )
        alpha = 0.5 if self.alpha is None else self.alpha
        weight = (alpha * values + (1 - alpha) * (1 - values)) * (2 if self.alpha is None else 1)
        return (2 * values - 1) * outputs, weight
