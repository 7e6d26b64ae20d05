"""Class-conditional label noise: transition matrix T by maximum likelihood, EM and anchor points.

T[t, y] = p(given label y | true class t). If the given label depends on the features through the
true class alone, then p(t | x, y) ∝ p(t | x) · T[t, y].
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.pseudo_r2 import calibrated_pseudo_r2
from fastif.numerics.optimize import minimize_lbfgs

ASSUMED_ACCURACY = 0.7
"""Diagonal of the initial transition matrix: fraction of right labels."""

MAX_LOG_SCALE = 10.0
"""Bound on |log a|, where a is the scale of the logits."""

DIAGONAL_PRIOR, UNIFORM_PRIOR = 2.0, 0.1
"""Dirichlet prior of a row of T, in pseudo-counts: additional ones on the diagonal; all cells."""

STEPS = 30
"""Number of EM iterations."""

ANCHOR_SHARES, MIN_ANCHOR_ROWS = (0.02, 0.05, 0.1, 0.25), 20
"""Anchor points: candidate fractions of the rows predicted as a class, and their minimum number."""

ANCHOR_PRIOR = 5.0
"""Pseudo-counts of symmetric noise that are added to the anchor points of each class."""

SUFFICIENT_PSEUDO_R2 = 0.3
"""Pseudo-R² from which the classes' noise rates are not shrunk towards symmetric noise."""

PENALTY = 1e-4
"""L2 penalty on log a and b of the calibration, which keeps b finite for a class without rows."""


def make_initial_transition(classes: int) -> Float[Tensor, "c c"]:
    """Return symmetric noise with 0.7 on the diagonal, the initial T, [c, c]."""
    transition = torch.full((classes, classes), (1 - ASSUMED_ACCURACY) / (classes - 1))
    return transition.fill_diagonal_(ASSUMED_ACCURACY)


def compute_posterior(
    p: Float[Tensor, "n c"], labels: Int[Tensor, " n"], transition: Float[Tensor, "c c"]
) -> Float[Tensor, "n c"]:
    """Compute the posterior of the true class by Bayes' rule, p(t | x, y) ∝ p(t | x) · T[t, y].

    Args:
        p: Class probabilities p(t | x), [n, c].
        labels: Given label y of each row, [n].
        transition: Noise transition matrix T, [c, c].

    Returns:
        Posterior, [n, c].

    Examples:
        >>> transition = make_initial_transition(2)
        >>> compute_posterior(torch.tensor([[0.5, 0.5]]), torch.tensor([0]), transition)
        tensor([[0.7000, 0.3000]])
    """
    joint = p * transition[:, labels].T
    return joint / joint.sum(1, keepdim=True)


def fit_transition_em(
    p: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    transition: Float[Tensor, "c c"],
    steps: int = STEPS,
    known_one_hot: Float[Tensor, "n c"] | None = None,
    temper: float = 1.0,
) -> Float[Tensor, "c c"]:
    """Fit the noise transition matrix T by EM with fixed p(t | x) (Dawid and Skene, 1979).

        E step:  q_i(t) ∝ p(t | x_i) · T[t, y_i]
        M step:  T[t, y] ∝ Σ_i q_i(t) 1[y_i = y] + pseudo-counts

    Args:
        p: Class probabilities p(t | x), [n, c].
        labels: Given label of each row, [n].
        transition: Initial T, [c, c].
        steps: Number of EM iterations.
        known_one_hot: One-hot right class of reviewed rows, zeros for the others, [n, c].
        temper: Weight of T against symmetric noise in the E step; see `shrink_to_symmetric`.

    Returns:
        Fitted T, [c, c].
    """
    given_one_hot = torch.nn.functional.one_hot(labels, len(transition)).to(p)
    for _ in range(steps):
        class_posterior = compute_posterior(p, labels, shrink_to_symmetric(transition, temper))
        if known_one_hot is not None:
            class_posterior = torch.where(
                known_one_hot.sum(1, keepdim=True) > 0, known_one_hot, class_posterior
            )
        counts = (
            class_posterior.T @ given_one_hot
            + DIAGONAL_PRIOR * torch.eye(len(transition)).to(p)
            + UNIFORM_PRIOR
        )
        transition = counts / counts.sum(1, keepdim=True)
    return transition


def shrink_to_symmetric(transition: Float[Tensor, "c c"], weight: float) -> Float[Tensor, "c c"]:
    """Shrink T towards symmetric noise, by a geometric mean of the off-diagonal cells.

    Args:
        transition: Noise transition matrix, [c, c].
        weight: Weight of T, from 0 (symmetric noise) to 1 (T itself).
    """
    if weight == 1:
        return transition
    classes = len(transition)
    off_diagonal = transition.clone().fill_diagonal_(0)
    symmetric = off_diagonal.sum() / (classes * (classes - 1))
    shrunk = off_diagonal.clamp_min(1e-6) ** weight * symmetric.clamp_min(1e-6) ** (1 - weight)
    shrunk.fill_diagonal_(0)
    return shrunk + torch.diag(1 - shrunk.sum(1))


def fit_noise_model(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    known_one_hot: Float[Tensor, "n c"] | None = None,
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "c c"]]:
    """Fit the calibration of p(t | x) and the noise transition matrix T together.

        p(t | x) = softmax(a · logits + b)
        likelihood of a given label y = Σ_t p(t | x) · T[t, y]

    Heads that were fitted to noisy labels predict these; the likelihood accounts for the noise
    once. Where all rows are equally confident, little noise with unconfident logits fits as well as
    much noise with confident ones. So each row of T is the noisier one of the joint maximum
    likelihood fit and the anchor-point estimate (`estimate_anchor_transition`). T is then shrunk
    towards symmetric noise with the squared weight of `compute_shrinkage`, since a low pseudo-R²
    does not identify the noise of single classes.

    Args:
        logits: Out-of-fold logits, [n, c].
        labels: Given label of each row, [n].
        known_one_hot: One-hot right class of reviewed rows, zeros for the others, [n, c].

    Returns:
        Class probabilities p(t | x) [n, c], and T [c, c].
    """
    joint_transition = fit_joint_mle(logits, labels, known_one_hot)[1]
    anchor_transition = estimate_anchor_transition(logits, labels)
    has_more_noise = anchor_transition.diagonal() < joint_transition.diagonal()
    transition = torch.where(has_more_noise[:, None], anchor_transition, joint_transition)
    transition = shrink_to_symmetric(
        transition, compute_shrinkage(calibrated_pseudo_r2(logits, labels)) ** 2
    )
    return _fit_likelihood(logits, labels, transition, known_one_hot)[0], transition


def fit_joint_mle(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    known_one_hot: Float[Tensor, "n c"] | None = None,
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "c c"]]:
    """Fit calibration and T by maximum likelihood alone, without anchor points or shrinkage."""
    return _fit_likelihood(logits, labels, None, known_one_hot)


def label_log_likelihood(
    logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Log-likelihood of each given label under `fit_joint_mle`, nats, [n]."""
    p, transition = fit_joint_mle(logits, labels)
    return (p * transition[:, labels].T).sum(1).log()


def compute_shrinkage(r_squared: float) -> float:
    """Shrinkage weight min(1, R² / 0.3): 1 where the features predict the labels well enough."""
    return min(1.0, r_squared / SUFFICIENT_PSEUDO_R2)


def estimate_anchor_transition(
    logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
) -> Float[Tensor, "c c"]:
    """Estimate T from anchor points (Liu and Tao, 2016; Patrini et al., 2017).

    The anchor points of class t are the most confident rows among those predicted as t; their given
    labels estimate T[t, :]. Of several candidate fractions, the one with the fewest other labels is
    used: the additional errors of a larger one are uncertainty of the classifier, not label noise.

    Args:
        logits: Out-of-fold logits, [n, c].
        labels: Given label of each row, [n].

    Returns:
        Noise transition matrix, [c, c].
    """
    log_probs = logits.log_softmax(1)
    predicted, classes = log_probs.argmax(1), logits.shape[1]
    counts = torch.zeros(classes, classes)
    for t in range(classes):
        row_ids = (predicted == t).nonzero()[:, 0]
        sorted_labels = labels[row_ids[log_probs[row_ids, t].argsort(descending=True, stable=True)]]
        sizes = {
            max(min(len(row_ids), MIN_ANCHOR_ROWS), round(share * len(row_ids)))
            for share in ANCHOR_SHARES
        }
        anchor_counts = [
            sorted_labels[:size].bincount(minlength=classes).float() for size in sorted(sizes)
        ]
        counts[t] = min(
            anchor_counts,
            key=lambda label_counts: float(
                (label_counts.sum() - label_counts[t] + 1) / (label_counts.sum() + 2)
            ),
        )
    error_rate = (counts.sum() - counts.trace() + 1) / (counts.sum() + 2)
    symmetric = torch.full((classes, classes), float(error_rate) / (classes - 1))
    counts += ANCHOR_PRIOR * symmetric.fill_diagonal_(1 - float(error_rate))
    return counts / counts.sum(1, keepdim=True)


def _fit_likelihood(
    logits: Tensor, labels: Tensor, transition: Tensor | None, known_one_hot: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Fit p(t | x), and T unless it is given, by penalized maximum likelihood with L-BFGS."""
    classes = logits.shape[1]
    scale, shift = torch.zeros(1).requires_grad_(), torch.zeros(classes).requires_grad_()
    log_transition = (
        (make_initial_transition(classes) if transition is None else transition)
        .log()
        .requires_grad_(transition is None)
    )
    params = [scale, shift, *([log_transition] if transition is None else [])]
    prior_counts = DIAGONAL_PRIOR * torch.eye(classes) + UNIFORM_PRIOR
    is_known = None if known_one_hot is None else known_one_hot.sum(1) > 0

    def compute_scale() -> Tensor:
        # With uninformative logits, a step of the line search may go so far that exp overflows.
        return scale.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp()

    def loss() -> Tensor:
        log_probs = (compute_scale() * logits + shift).log_softmax(1)
        log_rates = log_transition.log_softmax(1)
        joint = log_probs + log_rates[:, labels].T
        log_likelihoods = joint.logsumexp(1)
        if known_one_hot is not None and is_known is not None:
            log_likelihoods = torch.where(is_known, (known_one_hot * joint).sum(1), log_likelihoods)
        value = -log_likelihoods.mean() + PENALTY * (shift.square().sum() + scale.square().sum())
        if transition is None:
            value = value - (prior_counts * log_rates).sum() / len(labels)
        return value

    minimize_lbfgs(loss, params, max_iter=200, history_size=20, tolerance_grad=1e-7)
    with torch.no_grad():
        return (compute_scale() * logits + shift).softmax(1), log_transition.softmax(1)
