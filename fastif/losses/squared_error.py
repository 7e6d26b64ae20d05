"""Squared error, for regression."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.losses.loss import (
    Loss,
    as_outputs,
    check_reduction,
    find_invalid_numbers,
    make_diagonal_factor,
    reduce_outputs,
)
from fastif.losses.measure import InvalidTargets
from fastif.numerics.arithmetic import upcast_half


@dataclass(frozen=True)
class SquaredError(Loss):
    """Squared error Σ_c (z_c - y_c)², summed over the outputs without ½.

    The Hessian in the outputs is 2·I. torch's `mse_loss` averages over the outputs, which is 1/c of
    this and `reduction="mean"` here. Targets are numbers of shape [b c]; [b] for a single output.

    Args:
        reduction: "sum" or "mean" over the outputs of an example.

    Raises:
        InputError: The reduction is unknown, or the targets differ in number from the outputs.

    Examples:
        >>> SquaredError()(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
        tensor([5.])
    """

    reduction: str = "sum"

    def __post_init__(self) -> None:
        check_reduction(self.reduction)

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        outputs = upcast_half(outputs)
        return reduce_outputs((outputs - as_outputs(targets, outputs)).square(), self.reduction)

    def sqrt_hessian(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c r"]:
        outputs = upcast_half(outputs)
        return make_diagonal_factor(torch.full_like(outputs, 2.0), self.reduction)

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        return find_invalid_numbers(targets, outputs)
