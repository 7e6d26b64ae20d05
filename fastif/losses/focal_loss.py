"""Focal loss of a softmax, with class weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.losses.cross_entropy import check_class_weights
from fastif.losses.focal_curvature import check_gamma, compute_focal_curvature
from fastif.losses.loss import Loss, as_classes, as_weights, find_invalid_classes
from fastif.losses.measure import InvalidTargets
from fastif.losses.softmax_sqrt_hessian import softmax_sqrt_hessian
from fastif.numerics.arithmetic import upcast_half


@dataclass(frozen=True)
class FocalLoss(Loss):
    """Focal loss -w_t (1 - p)^γ log p (Lin et al., 2017), p = softmax(outputs)[t], in nats.

    It is not convex in the outputs: where the target is predicted with a small probability (below
    0.058 for γ = 2), its curvature along the gradient of log p is negative. `sqrt_hessian` is the
    root of the Hessian where this is positive semi-definite, and elsewhere of the Hessian with that
    one curvature set to zero: the nearest such matrix in the metric of the softmax, diag(π) - ππᵀ.
    So `GaussNewton` leaves out that negative curvature, and `Hessian` has it. Targets are class
    numbers [b].

    Class weights multiply the loss. A loss that takes p as exp(-cross-entropy) of an already
    weighted cross-entropy is another one.

    Args:
        gamma: Exponent γ of 0 or more; 0 is the cross-entropy.
        class_weights: Weights w, one for each output, as any sequence of numbers; 1 by default.

    Raises:
        InputError: A number is out of range; on first use, if there is a single output, or the
            weights differ in number from the outputs.

    Examples:
        >>> FocalLoss(2.0)(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))  # 1/4 log 2
        tensor([0.1733])
    """

    gamma: float = 2.0
    class_weights: Sequence[float] | None = None

    class_targets = True

    def __post_init__(self) -> None:
        check_gamma(self.gamma)
        object.__setattr__(self, "class_weights", check_class_weights(self.class_weights))

    def __call__(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, " b"]:
        outputs, targets = upcast_half(outputs), _as_classes(targets, outputs)
        log_chosen = outputs.log_softmax(1).gather(1, targets[:, None])[:, 0]
        log_other = _compute_log_other(outputs, targets)
        return -self._weigh(outputs, targets) * (self.gamma * log_other).exp() * log_chosen

    def sqrt_hessian(
        self, outputs: Float[Tensor, "b c"], targets: Shaped[Tensor, "b *t"]
    ) -> Float[Tensor, "b c r"]:
        outputs, targets = upcast_half(outputs), _as_classes(targets, outputs)
        factor = softmax_sqrt_hessian(outputs)
        across, along = compute_focal_curvature(_compute_log_other(outputs, targets), self.gamma)
        # Along this unit vector the factor maps to the gradient of the log probability.
        target_row = factor[torch.arange(len(targets), device=targets.device), targets]
        norm = target_row.norm(dim=1, keepdim=True)
        unit = target_row / norm.clamp_min(torch.finfo(outputs.dtype).tiny)
        change = along.clamp_min(0).sqrt() - across.sqrt()
        projected = (factor @ unit[:, :, None]) * (change[:, None] * unit)[:, None]
        weight = self._weigh(outputs, targets).sqrt()[:, None, None]
        return weight * (across.sqrt()[:, None, None] * factor + projected)

    def find_invalid_targets(
        self, targets: Shaped[Tensor, "n *t"], outputs: int
    ) -> InvalidTargets | None:
        return find_invalid_classes(targets, outputs)

    def _weigh(
        self, outputs: Float[Tensor, "b c"], targets: Int[Tensor, " b"]
    ) -> Float[Tensor, " b"]:
        if self.class_weights is None:
            return outputs.new_ones(len(outputs))
        return as_weights(self.class_weights, outputs, "class_weights")[targets]


def _as_classes(
    targets: Shaped[Tensor, "b *t"], outputs: Float[Tensor, "b c"]
) -> Int[Tensor, " b"]:
    """Convert targets to class numbers of two outputs or more."""
    if outputs.shape[1] < 2:
        raise InputError(
            "model",
            "two outputs or more for the softmax of FocalLoss",
            "one output",
            "Use BinaryFocalLoss for a model with a single logit.",
        )
    return as_classes(targets, outputs)


def _compute_log_other(
    outputs: Float[Tensor, "b c"], targets: Int[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """Compute log(1 - p) as a sum over the other classes, which keeps its digits for p near 1."""
    others = outputs.scatter(1, targets[:, None], -torch.inf)
    return others.logsumexp(1) - outputs.logsumexp(1)
