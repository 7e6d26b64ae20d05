"""Loss with a weight for each example."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.loss import Loss
from fastif.losses.measure import InvalidTargets, all_rows, report_invalid_rows
from fastif.numerics.deferred_checks import assume_all


@dataclass(frozen=True)
class SampleWeighted(Loss):
    """Loss times a weight of the example, w L(outputs, y), as with sample weights in scikit-learn.

    Targets are floating-point numbers of shape [b 1+t]: the weight w ≥ 0 in the first column, then
    the t numbers of the target y; `weight_targets` makes them. For a loss of class numbers t is 1,
    and the number is converted back exactly. An example with weight 0 has neither loss nor
    curvature. The mean of an objective is over the examples and not over the weights; both agree
    for weights with mean one, and others scale loss and curvature by the same factor, but not the
    damping.

    Queries have no weight: give the plain loss as the objective's `measure`, with targets without
    the first column.

    Args:
        loss: Loss of an example without its weight.

    Raises:
        InputError: The value is no loss or has a weight already; on first use, if targets have no
            column of weights, or a weight is negative or not finite.

    Examples:
        >>> from fastif import CrossEntropy
        >>> targets = weight_targets(torch.tensor([1, 0]), torch.tensor([0.5, 2.0]))
        >>> targets
        tensor([[0.5000, 1.0000],
                [2.0000, 0.0000]])
        >>> SampleWeighted(CrossEntropy())(torch.zeros(2, 2), targets)
        tensor([0.3466, 1.3863])
    """

    loss: Loss

    def __post_init__(self) -> None:
        if not isinstance(self.loss, Loss) or isinstance(self.loss, SampleWeighted):
            raise InputError(
                "loss",
                "a loss of fastif without sample weights",
                type(self.loss).__name__,
                "Give the loss of one example, such as fastif.CrossEntropy().",
            )

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        weights, targets = self._split(targets)
        values = self.loss(outputs, targets)
        return weights.to(values.dtype) * values

    def sqrt_hessian(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c r"]:
        weights, targets = self._split(targets)
        factor = self.loss.sqrt_hessian(outputs, targets)
        return weights.to(factor.dtype).sqrt()[:, None, None] * factor

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        if not _has_weights(targets):
            expected = "a weight and then the target in each row, floating-point [n, 1 + t]"
            return report_invalid_rows(expected, all_rows(targets))
        weights, inner = targets[:, 0], self._remove_weights(targets)
        invalid = report_invalid_rows("a finite weight of 0 or more first", ~_are_weights(weights))
        if invalid is None and self._has_classes(targets):
            expected = "a whole number as class after the weight"
            invalid = report_invalid_rows(expected, inner != targets[:, 1])
        return invalid or self.loss.find_invalid_targets(inner, outputs)

    def _split(
        self, targets: Shaped[Tensor, "b *t"]
    ) -> tuple[Float[Tensor, " b"], Shaped[Tensor, "b *u"]]:
        """Return the weights, and the targets of the inner loss."""
        if not _has_weights(targets):
            raise InputError(
                "targets",
                "a weight and then the target in each row, floating-point [n, 1 + t]",
                f"{targets.dtype} of shape {list(targets.shape)}",
                "Make them with fastif.losses.weight_targets(targets, weights); for queries set "
                "the objective's measure to the loss without weights.",
            )
        weights, inner = targets[:, 0], self._remove_weights(targets)
        is_whole = (
            inner == targets[:, 1] if self._has_classes(targets) else torch.ones_like(weights)
        )
        if not assume_all(_are_weights(weights) & is_whole.bool()):
            raise InputError(
                "targets",
                "a finite weight of 0 or more, and a whole number for a class",
                "another number in a row",
                "Correct these targets, or remove the rows.",
            )
        return weights, inner

    def _has_classes(self, targets: Float[Tensor, "b s"]) -> bool:
        return self.loss.class_targets and targets.shape[1] == 2

    def _remove_weights(self, targets: Float[Tensor, "b s"]) -> Shaped[Tensor, "b *t"]:
        """Return the targets of the inner loss: class numbers, or [b t] numbers."""
        return targets[:, 1].long() if self._has_classes(targets) else targets[:, 1:]


def weight_targets(
    targets: Shaped[Tensor, "n *t"], weights: Shaped[Tensor, " m"]
) -> Float[Tensor, "n s"]:
    """Return targets of `SampleWeighted`: the weight, then the numbers of the target, in each row.

    In double precision if one of both is, otherwise in single precision.

    Raises:
        InputError: The numbers of targets and weights differ, or a class number is not exact in the
            precision.
    """
    if len(targets) != len(weights):
        raise InputError(
            "weight_targets",
            "one weight for each target",
            f"{len(weights)} weights and {len(targets)} targets",
            "Give both in the same order of rows.",
        )
    dtype = torch.promote_types(torch.promote_types(targets.dtype, weights.dtype), torch.float32)
    numbers = targets.reshape(len(targets), -1).to(dtype)
    exact = numbers.reshape(targets.shape).to(targets.dtype) == targets
    if not bool((exact | targets.isnan()).all()):  # NaN is a missing label of some losses
        raise InputError(
            "targets",
            "numbers that floating-point numbers hold exactly",
            "larger whole numbers",
            "Give weights in double precision.",
        )
    return torch.cat([weights.reshape(-1, 1).to(dtype), numbers], 1)


def _has_weights(targets: Shaped[Tensor, "n *t"]) -> bool:
    return targets.is_floating_point() and targets.dim() == 2 and targets.shape[1] >= 2


def _are_weights(weights: Float[Tensor, " n"]) -> Shaped[Tensor, " n"]:
    return torch.isfinite(weights) & (weights >= 0)
