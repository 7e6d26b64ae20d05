"""Label error scores of known detectors, one number a row; a larger score is more suspicious."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.linear_head import TILE_ROWS, LinearHead
from fastif.numerics.correlation import margins

EPOCHS, LEARNING_RATE, MOMENTUM = 50, 0.5, 0.9
"""Full-batch gradient descent with momentum, whose training dynamics `training_margin` averages."""


def compute_label_scores(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    cross_fitted: Float[Tensor, "n c"],
    in_sample: LinearHead,
    neighbour_ids: Int[Tensor, "n k"],
    penalty: float,
) -> dict[str, Float[Tensor, " n"]]:
    """Compute label error scores of several published detectors, by column name.

    - `loss`: out-of-fold cross-entropy, -log p(y | x), nats.
    - `margin`: minus the out-of-fold log-odds of the given label.
    - `neighbours`: fraction of the k nearest neighbours with another label.
    - `neighbour_loss`: minus the log of the neighbours' mean out-of-fold p(y), nats.
    - `in_sample_loss`: cross-entropy of a head that was trained on the row, nats.
    - `training_margin`: minus the area under the margin (AUM; Pleiss et al., 2020).
    - `self_influence`: self-influence with in-sample residuals, nats; see
      `compute_head_self_influence`.
    - `crossed_self_influence`: self-influence with out-of-fold residuals, nats.

    Args:
        features: Features of the rows, [n, d].
        labels: Given label of each row, [n].
        cross_fitted: Out-of-fold logits, [n, c].
        in_sample: Linear head fitted to all rows.
        neighbour_ids: Positions of each row's nearest neighbours, [n, k].
        penalty: L2 penalty with which `in_sample` was fitted.

    Returns:
        Scores by name, [n] each.
    """
    p, label_column = cross_fitted.softmax(1), labels[:, None]
    neighbour_probability = (
        sum(p[column].gather(1, label_column)[:, 0] for column in neighbour_ids.T)
        / neighbour_ids.shape[1]
    )
    neighbour_disagreement = (
        sum((labels[column] != labels).float() for column in neighbour_ids.T)
        / neighbour_ids.shape[1]
    )
    logits = in_sample(features)
    in_sample_influence, cross_fitted_influence = compute_head_self_influence(
        features, labels, (logits, cross_fitted), logits, penalty
    )
    return {
        "loss": -cross_fitted.log_softmax(1).gather(1, label_column)[:, 0],
        "margin": -margins(cross_fitted, labels),
        "neighbours": torch.as_tensor(neighbour_disagreement),
        "neighbour_loss": -torch.as_tensor(neighbour_probability).clamp_min(1e-9).log(),
        "in_sample_loss": -logits.log_softmax(1).gather(1, label_column)[:, 0],
        "training_margin": -_training_margin(features, labels, cross_fitted.shape[1], penalty),
        "self_influence": in_sample_influence,
        "crossed_self_influence": cross_fitted_influence,
    }


def compute_head_self_influence(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    logits: Sequence[Float[Tensor, "n c"]],
    fitted_logits: Float[Tensor, "n c"],
    penalty: float,
) -> list[Float[Tensor, " n"]]:
    """Compute the self-influence of each row on a linear head: rise of its loss without it.

        (1/n) Σ_k r_k² xᵀ(H_k + λ I)⁻¹ x,   r = softmax(logits) - onehot(y)

    x has an additional 1 for the bias. H_k is the diagonal block of class k of the head's mean
    Hessian. Memory beyond the arguments is a tile of rows.

    Args:
        features: Features of the rows, [n, d].
        labels: Given label of each row, [n].
        logits: Logits of the residuals r, such as in-sample and out-of-fold, [n, c] each.
        fitted_logits: Logits of the fitted head, for the Hessian, [n, c].
        penalty: L2 penalty λ of the head.

    Returns:
        Predicted rise of each row's loss if it is removed, nats, [n] for each of `logits`.
    """
    n, classes = fitted_logits.shape
    tiles = [slice(start, start + TILE_ROWS) for start in range(0, n, TILE_ROWS)]
    q = fitted_logits.softmax(1)
    squared_residuals = [(z.softmax(1) - one_hot(labels, classes)).square() for z in logits]
    totals = [torch.zeros(n) for _ in logits]
    for k in range(classes):
        curvature = q[:, k] * (1 - q[:, k]) / n
        block = penalty * torch.eye(features.shape[1] + 1).to(features)
        for tile in tiles:
            x = _append_one(features[tile])
            block.addmm_((x * curvature[tile, None]).T, x)
        factor = torch.linalg.cholesky(block)
        for tile in tiles:
            x = _append_one(features[tile])
            whitened = torch.linalg.solve_triangular(factor.T, x, upper=True, left=False)
            leverage = whitened.square().sum(1)
            for total, squares in zip(totals, squared_residuals, strict=True):
                total[tile] += squares[tile, k] * leverage / n
    return totals


def _append_one(features: Float[Tensor, "m d"]) -> Float[Tensor, "m w"]:
    return torch.cat([features, features.new_ones(len(features), 1)], 1)


def _training_margin(
    features: Tensor, labels: Tensor, classes: int, penalty: float
) -> Float[Tensor, " n"]:
    """Area under the margin: mean over training of the label's logit minus the next largest one."""
    W = features.new_zeros(classes, features.shape[1])
    bias = features.new_zeros(classes, 1)
    velocity, bias_velocity = torch.zeros_like(W), torch.zeros_like(bias)
    total, columns = features.new_zeros(len(labels)), torch.arange(len(labels))
    for _ in range(EPOCHS):
        error = torch.addmm(bias, W, features.T).softmax(0)
        error[labels, columns] -= 1
        error /= len(labels)
        velocity = MOMENTUM * velocity - LEARNING_RATE * (error @ features + penalty * W)
        bias_velocity = MOMENTUM * bias_velocity - LEARNING_RATE * error.sum(1, keepdim=True)
        W, bias = W + velocity, bias + bias_velocity
        logits = torch.addmm(bias, W, features.T)
        own = logits[labels, columns]
        logits[labels, columns] = -torch.inf
        total += own - logits.amax(0)
    return total / EPOCHS
