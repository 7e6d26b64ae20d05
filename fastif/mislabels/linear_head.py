"""A linear classifier on fixed features, fitted to labels that may be uncertain."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.numerics.optimize import minimize_lbfgs

STEPS = 60
"""L-BFGS iterations; the penalty keeps the problem well-conditioned."""

BIAS_PENALTY = 1e-4
"""Keeps the biases finite where a class has no row."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Logits x W + b.

    Attributes:
        weight: W.
        bias: b.
    """

    weight: Float[Tensor, "d c"]
    bias: Float[Tensor, " c"]

    def __call__(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Logits of rows."""
        return features @ self.weight + self.bias


@runtime_checkable
class HeadFitter(Protocol):
    """Whatever fits a head as `fit_linear_head` does; one may, for instance, keep them."""

    def __call__(
        self, features: Tensor, targets: Tensor, penalty: float, weights: Tensor | None = None
    ) -> LinearHead:
        """See `fit_linear_head`."""
        ...


def fit_linear_head(
    features: Float[Tensor, "n d"],
    targets: Float[Tensor, "n c"],
    penalty: float,
    weights: Float[Tensor, " n"] | None = None,
) -> LinearHead:
    """The head of least weighted mean cross-entropy to `targets` + ½ penalty ‖W‖², by L-BFGS.

    Args:
        features: of the rows.
        targets: a distribution over classes for each row; one-hot for a certain label.
        penalty: of the squared weights.
        weights: of the rows; all alike if left out.

    >>> x = torch.tensor([[-1.0], [-0.9], [0.9], [1.0]])
    >>> y = torch.eye(2)[[0, 0, 1, 1]]
    >>> fit_linear_head(x, y, 1e-2)(x).argmax(1)
    tensor([0, 0, 1, 1])
    """
    row_weights = torch.ones(len(features)) if weights is None else weights
    row_weights = (row_weights / row_weights.sum()).to(features)
    W = features.new_zeros(features.shape[1] + 1, targets.shape[1]).requires_grad_()

    def loss() -> Tensor:
        logits = features @ W[:-1] + W[-1]
        fit = -(row_weights * (targets * logits.log_softmax(1)).sum(1)).sum()
        return fit + penalty / 2 * W[:-1].square().sum() + BIAS_PENALTY / 2 * W[-1].square().sum()

    minimize_lbfgs(loss, [W], max_iter=STEPS, history_size=10, tolerance_grad=1e-6)
    fitted = W.detach()
    return LinearHead(fitted[:-1], fitted[-1])
