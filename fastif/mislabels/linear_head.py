"""Multinomial logistic regression on fixed features, with soft targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.numerics.optimize import minimize_lbfgs_by_gradient

STEPS = 60
"""Maximum number of L-BFGS iterations; the L2 penalty keeps the problem well-conditioned."""

BIAS_PENALTY = 1e-4
"""L2 penalty on the biases, which keeps them finite for a class without rows."""

TILE_ROWS = 8_192
"""Number of rows whose logits are computed at a time."""

MAX_COPIED_NUMBERS = 2**25
"""Largest number of features of the rows with a weight that are copied: 128 MB in float32."""


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

    def predict(
        self, features: Float[Tensor, "n d"], ids: Int[Tensor, " m"]
    ) -> Float[Tensor, "m c"]:
        """Return the logits of some rows, [m, c]; a tile of their features is copied at a time."""
        if not len(ids):
            return self(features[ids])
        return torch.cat([self(features[tile]) for tile in ids.split(TILE_ROWS)])


@runtime_checkable
class HeadFitter(Protocol):
    """Interface of `fit_linear_head`, for instance with a cache."""

    def __call__(
        self, features: Tensor, targets: Tensor, penalty: float, weights: Tensor | None = None
    ) -> LinearHead:
        """Fit a head; arguments as in `fit_linear_head`."""
        ...


@dataclass(frozen=True, eq=False)
class HeadLoss:
    """Penalized cross-entropy of a linear head with soft targets, and its gradient, by tiles.

    Layouts are transposed, with one column a row: products of a narrow matrix are several times as
    fast as the other way round.

    Attributes:
        features: Features of the rows, [n, d].
        targets: Target distribution over classes of each row, [n, c].
        shares: Weight of each row, of sum 1, [n].
        tiles: Positions of the rows with a weight, by tile.
        penalty: L2 penalty λ on the weights.
    """

    features: Float[Tensor, "n d"]
    targets: Float[Tensor, "n c"]
    shares: Float[Tensor, " n"]
    tiles: Sequence[slice | Int[Tensor, " m"]]
    penalty: float

    @classmethod
    def from_weights(
        cls, features: Tensor, targets: Tensor, penalty: float, weights: Tensor
    ) -> "HeadLoss":
        """Return the loss of the rows with a weight; a part of few rows is copied once."""
        shares = (weights / weights.sum()).to(features)
        ids = shares.nonzero()[:, 0]
        if len(ids) < len(features) and len(ids) * features.shape[1] <= MAX_COPIED_NUMBERS:
            features, targets, shares = features[ids], targets[ids], shares[ids]
            ids = torch.arange(len(ids))
        if len(ids) == len(features):
            starts = range(0, len(features), TILE_ROWS)
            return cls(
                features, targets, shares, [slice(i, i + TILE_ROWS) for i in starts], penalty
            )
        return cls(features, targets, shares, ids.split(TILE_ROWS), penalty)

    def compute_gradient(self, W: Float[Tensor, "c w"]) -> tuple[Float[Tensor, ""], Tensor]:
        """Return the loss and its gradient at weights with the bias in the last column, [c, d+1].

        gradient = Σ_i s_i (softmax(W x_i) Σ_t targets[i, t] - targets[i]) x_iᵀ + λ W
        """
        penalties = W.new_full(W.shape, self.penalty)
        penalties[:, -1] = BIAS_PENALTY
        value, gradient = (penalties * W.square()).sum() / 2, penalties * W
        for tile in self.tiles:
            x, targets, shares = self.features[tile], self.targets[tile].T, self.shares[tile]
            log_probs = torch.addmm(W[:, -1:], W[:, :-1], x.T).log_softmax(0)
            value -= ((targets * log_probs).sum(0) * shares).sum()
            error = (log_probs.exp() * targets.sum(0) - targets) * shares
            gradient[:, :-1].addmm_(error, x)
            gradient[:, -1] += error.sum(1)
        return value, gradient


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
        weights: Weight w_i of each row, [n]; rows of weight 0 cost nothing. None weights all rows
            equally.

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
    row_weights = features.new_ones(len(features)) if weights is None else weights
    loss = HeadLoss.from_weights(features, targets.to(features), penalty, row_weights)
    W = features.new_zeros(targets.shape[1], features.shape[1] + 1)

    def compute_gradients() -> tuple[Tensor, list[Tensor]]:
        value, gradient = loss.compute_gradient(W)
        return value, [gradient]

    minimize_lbfgs_by_gradient(
        compute_gradients, [W], max_iter=STEPS, history_size=10, tolerance_grad=1e-6
    )
    return LinearHead(W[:, :-1].T.contiguous(), W[:, -1].clone())
