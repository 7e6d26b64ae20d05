"""Label error scores of known detectors, one number a row; a larger score is more suspicious."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.linear_head import LinearHead
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
    # One Hessian, that of the fitted head, for in-sample and for out-of-fold residuals.
    in_sample_influence, cross_fitted_influence = (
        compute_head_self_influence(features, labels, z, logits, penalty)
        for z in (logits, cross_fitted)
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
    logits: Float[Tensor, "n c"],
    fitted_logits: Float[Tensor, "n c"],
    penalty: float,
) -> Float[Tensor, " n"]:
    """Compute the self-influence of each row on a linear head: rise of its loss without it.

        (1/n) Σ_k r_k² xᵀ(H_k + λ I)⁻¹ x,   r = softmax(logits) - onehot(y)

    x has an additional 1 for the bias. H_k is the diagonal block of class k of the head's mean
    Hessian.

    Args:
        features: Features of the rows, [n, d].
        labels: Given label of each row, [n].
        logits: Logits of the residuals r, in-sample or out-of-fold, [n, c].
        fitted_logits: Logits of the fitted head, for the Hessian, [n, c].
        penalty: L2 penalty λ of the head.

    Returns:
        Predicted rise of each row's loss if it is removed, nats, [n].
    """
    n, classes = logits.shape
    x = torch.cat([features, torch.ones(n, 1)], 1)
    residual = logits.softmax(1) - one_hot(labels, classes)
    q = fitted_logits.softmax(1)
    total = torch.zeros(n)
    for k in range(classes):
        block = (x * (q[:, k] * (1 - q[:, k]))[:, None]).T @ x / n
        block.diagonal().add_(penalty)
        factor = torch.linalg.cholesky(block)
        leverage = torch.linalg.solve_triangular(factor, x.T, upper=False).square().sum(0)
        total += residual[:, k].square() * leverage / n
    return total


def _training_margin(
    features: Tensor, labels: Tensor, classes: int, penalty: float
) -> Float[Tensor, " n"]:
    """Area under the margin: mean over training of the label's logit minus the next largest one."""
    targets = one_hot(labels, classes).float()
    W = torch.zeros(features.shape[1] + 1, classes)
    velocity, total = torch.zeros_like(W), torch.zeros(len(labels))
    for _ in range(EPOCHS):
        logits = features @ W[:-1] + W[-1]
        error = (logits.softmax(1) - targets) / len(labels)
        gradient = torch.cat([features.T @ error + penalty * W[:-1], error.sum(0, keepdim=True)])
        velocity = MOMENTUM * velocity - LEARNING_RATE * gradient
        W = W + velocity
        logits = features @ W[:-1] + W[-1]
        runner_up = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        total += logits.gather(1, labels[:, None])[:, 0] - runner_up
    return total / EPOCHS
