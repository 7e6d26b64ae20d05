"""Huber loss, for regression with outliers."""

from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.losses.loss import (
    Loss,
    as_outputs,
    check_positive,
    check_reduction,
    find_invalid_numbers,
    make_diagonal_factor,
    reduce_outputs,
)
from fastif.losses.measure import InvalidTargets
from fastif.numerics.arithmetic import upcast_half


@dataclass(frozen=True)
class Huber(Loss):
    """Huber loss (Huber, 1964): ½ r² for residuals |r| ≤ δ, and δ (|r| - ½ δ) above.

    The residual is r = z_c - y_c. Value and gradient are continuous at the corner; the Hessian in
    the outputs is diagonal, 1 up to the corner and 0 above. A row with a larger residual therefore
    adds no curvature, but has the gradient ±δ. torch's `SmoothL1Loss(beta)` is 1/δ of this with
    δ = beta, so both agree for 1. Targets are numbers of shape [b c]; [b] for a single output.

    Args:
        delta: Residual δ > 0 at the corner.
        reduction: "sum" or "mean" over the outputs of an example, "mean" in torch.

    Raises:
        InputError: δ is not a finite number > 0, the reduction is unknown, or the targets differ in
            number from the outputs.

    Examples:
        >>> import torch
        >>> Huber(2.0)(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 0.0]))
        tensor([0.5000, 4.0000])
    """

    delta: float = 1.0
    reduction: str = "sum"

    def __post_init__(self) -> None:
        check_positive(self.delta, "delta", "1.0")
        check_reduction(self.reduction)

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        outputs = upcast_half(outputs)
        residual = outputs - as_outputs(targets, outputs)
        inside = residual.clamp(-self.delta, self.delta)
        # ½ i² + i (r - i) with i = r clamped: one form on both sides of the corner
        return reduce_outputs(inside * (residual - inside / 2), self.reduction)

    def sqrt_hessian(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c r"]:
        outputs = upcast_half(outputs)
        inside = (outputs - as_outputs(targets, outputs)).abs() <= self.delta
        return make_diagonal_factor(inside.to(outputs.dtype), self.reduction)

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        return find_invalid_numbers(targets, outputs)
