"""Multinomial logistic regression on fixed features, with soft targets."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.numerics.optimize import minimize_lbfgs

STEPS = 60
"""Maximum number of L-BFGS iterations; the L2 penalty keeps the problem well-conditioned."""

BIAS_PENALTY = 1e-4
"""L2 penalty on the biases, which keeps them finite for a class without rows."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Linear classifier (head): logits = x W + b.

    Attributes:
        weight: Weight matrix W, [d, c].
        bias: Bias vector b, [c].
    """

    weight: Float[Tensor, "d c"]
    bias: Float[Tensor, " c"]

    def __call__(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Return the logits of features [m, d], as [m, c]."""
        return features @ self.weight + self.bias


@runtime_checkable
class HeadFitter(Protocol):
    """Interface of `fit_linear_head`, for instance with a cache."""

    def __call__(
        self, features: Tensor, targets: Tensor, penalty: float, weights: Tensor | None = None
    ) -> LinearHead:
        """Fit a head; arguments as in `fit_linear_head`."""
        ...


def fit_linear_head(
    features: Float[Tensor, "n d"],
    targets: Float[Tensor, "n c"],
    penalty: float,
    weights: Float[Tensor, " n"] | None = None,
) -> LinearHead:
    """Fit multinomial logistic regression with soft targets and an L2 penalty, by L-BFGS.

        min over W, b:  - Σ_i w_i Σ_t targets[i, t] log softmax(x_i W + b)[t] / Σ_i w_i + ½ λ ‖W‖²

    A penalty of 1e-4 on the biases keeps them finite.

    Args:
        features: Features of the rows, [n, d].
        targets: Target distribution over classes of each row, [n, c]; one-hot for a given label.
        penalty: L2 penalty λ on the weights.
        weights: Weight w_i of each row, [n]; None weights all rows equally.

    Returns:
        The fitted head.

    Examples:
        >>> import torch
        >>> from fastif.mislabels import fit_linear_head
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
