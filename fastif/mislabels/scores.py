"""What is known of detectors of wrong labels, one number a row each; larger is more suspicious."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from fastif.mislabels.linear_head import LinearHead
from fastif.numerics.correlation import margins

EPOCHS, LEARNING_RATE, MOMENTUM = 50, 0.5, 0.9
"""Of the training whose dynamics are watched: full batches, on rows of squared length about 1."""


def compute_label_scores(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    cross_fitted: Float[Tensor, "n c"],
    in_sample: LinearHead,
    neighbour_ids: Int[Tensor, "n k"],
    penalty: float,
) -> dict[str, Float[Tensor, " n"]]:
    """The signals by name.

    loss, margin: of logits that have not seen the row, nats; minus log p(y), minus its log-odds.
    neighbours: share of the nearest rows with another label.
    neighbour_loss: minus log of the nearest rows' mean p(y), of the same logits, nats.
    in_sample_loss: of a head that has seen the row, nats.
    training_margin: minus the mean over training of its logit's lead over the next (Pleiss and
    others, 2020).
    self_influence, crossed_self_influence: see `compute_head_self_influence`, nats.

    Args:
        features: of the rows.
        labels: as given.
        cross_fitted: cross-fitted logits.
        in_sample: a head fitted to all rows.
        neighbour_ids: neighbours.
        penalty: that it was fitted with.
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
    # The head's own curvature holds for both residuals, of logits that have seen the row or not.
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
    """Predicted rise of each row's loss if a head were fitted without it, nats.

    (1/n) Σ_k r_k² xᵀ(H_k + penalty I)⁻¹x with r = softmax(logits) - onehot(y), x with a 1 for the
    bias, and H_k the block of the head's mean Hessian that belongs to class k alone.

    Args:
        features: of the rows.
        labels: as given.
        logits: that residuals are taken of.
        fitted_logits: that the Hessian is taken of.
        penalty: of the head.
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
    """Mean over training of the label's logit above the largest other."""
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
