"""Class-conditional label noise: transition matrix T by maximum likelihood and EM.

T[t, y] = p(given label y | true class t). If the given label depends on the features through the
true class alone, then p(t | x, y) ∝ p(t | x) · T[t, y].
"""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.anchor_points import estimate_anchor_error_rate
from fastif.mislabels.confusable_noise import (
    EXPONENTS,
    NoiseModel,
    average_noise_models,
    fit_confusable_noise,
    score_confusable_noise,
)
from fastif.mislabels.noise_fit import MAX_LOG_SCALE, PENALTY
from fastif.mislabels.pseudo_r2 import calibrated_pseudo_r2
from fastif.mislabels.sparse_transition import sample_rows, select_sparse_transition
from fastif.numerics.optimize import minimize_lbfgs

ASSUMED_ACCURACY = 0.7
"""Diagonal of the initial transition matrix: fraction of right labels."""

DIAGONAL_PRIOR, UNIFORM_PRIOR = 2.0, 0.1
"""Dirichlet prior of a row of T, in pseudo-counts: additional ones on the diagonal; all cells."""

STEPS = 30
"""Number of EM iterations."""

SPARSE_PRIOR = 100.0
"""Pseudo-counts of the sparse matrix in each row of the free one: a hundred labels of the class."""

MAX_ERROR_RATE = 0.95
"""Largest mean error rate of T."""

SUFFICIENT_PSEUDO_R2 = 0.3
"""Pseudo-R² from which the free noise rates are not shrunk towards the sparse ones."""


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
    """Shrink T towards symmetric noise with the same mean, as `shrink_transition` does."""
    classes = len(transition)
    rate = transition.clone().fill_diagonal_(0).sum() / (classes * (classes - 1))
    return shrink_transition(transition, rate.expand(classes, classes), weight)


def shrink_transition(
    transition: Float[Tensor, "c c"], target: Float[Tensor, "c c"], weight: float
) -> Float[Tensor, "c c"]:
    """Shrink T towards another matrix, by a geometric mean of the off-diagonal cells.

    Args:
        transition: Noise transition matrix T, [c, c].
        target: Matrix of which the off-diagonal cells are used, [c, c].
        weight: Weight of T, from 0 (the target) to 1 (T itself).
    """
    if weight == 1:
        return transition
    cells, others = (
        matrix.clone().fill_diagonal_(0).clamp_min(1e-6) for matrix in (transition, target)
    )
    shrunk = cells**weight * others ** (1 - weight)
    shrunk.fill_diagonal_(0)
    return shrunk + torch.diag(1 - shrunk.sum(1))


def fit_noise_model(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    known_one_hot: Float[Tensor, "n c"] | None = None,
    unsmoothed: Float[Tensor, "n c"] | None = None,
    weights: Float[Tensor, " n"] | None = None,
) -> NoiseModel:
    """Fit the calibration of p(t | x) and the noise transition matrix T together.

        p(t | x) = softmax(a · logits + b)
        likelihood of a given label y = Σ_t p(t | x) · T[t, y]

    Heads that were fitted to noisy labels predict these; the likelihood accounts for the noise
    once. First a sparse T is selected (`select_sparse_transition`): symmetric noise, under which
    the rows are ranked as by the loss, and single cells that the data support. The matrices on the
    way to it are averaged by their evidence, since a weak classifier seldom decides between them.
    Only if a likelihood-ratio test rejects the selected one, a free T is fitted, with pseudo-counts
    of the averaged one, and shrunk towards that with the squared weight of `compute_shrinkage`: a
    low pseudo-R² does not identify the noise of single cells.

    Noise that depends on the row (`fit_confusable_noise`) is averaged with it by its evidence, from
    three classes on.

    Where all rows are equally confident, little noise with unconfident logits fits as well as much
    noise with confident ones. So T is scaled to the error rate of the anchor points, times the same
    weight, where that is larger. This changes how likely errors are rather than their order.

    Args:
        logits: Out-of-fold logits, [n, c].
        labels: Given label of each row, [n].
        known_one_hot: One-hot right class of reviewed rows, zeros for the others, [n, c].
        unsmoothed: Out-of-fold logits before smoothing, [n, c]; None for `logits`.
        weights: Weight of each row as evidence for the form of T, [n]; duplicates share one. None
            weighs all rows equally.

    Returns:
        Class probabilities p(t | x) [n, c], T [c, c] and the posterior by each row's label [n, c].
    """
    raw = logits if unsmoothed is None else unsmoothed
    selected = select_sparse_transition(logits, labels, known_one_hot, raw, weights)
    transition = selected.averaged
    weight = compute_shrinkage(calibrated_pseudo_r2(raw, labels)) ** 2
    if not selected.is_sufficient:
        prior = SPARSE_PRIOR * transition
        free = _fit_likelihood(logits, labels, None, known_one_hot, prior)[1]
        transition = shrink_transition(free, transition, weight)
    least_error = weight * estimate_anchor_error_rate(logits, labels)
    transition = scale_noise(transition, least_error)
    p = _fit_likelihood(logits, labels, transition, known_one_hot)[0]
    model = NoiseModel(p, transition, compute_posterior(p, labels, transition))
    if logits.shape[1] == 2:
        return model
    rows = sample_rows(logits, labels, known_one_hot, weights)
    fits = [fit_confusable_noise(rows, exponent) for exponent in EXPONENTS]
    evidence = [score_confusable_noise(fit, rows.count, selected.misfit) for fit in fits]
    log_probs = logits.float().log_softmax(1)
    predictions = [partial(fit.predict, log_probs, labels, least_error) for fit in fits]
    return average_noise_models([lambda: model, *predictions], [selected.log_evidence, *evidence])


def fit_joint_mle(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    known_one_hot: Float[Tensor, "n c"] | None = None,
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "c c"]]:
    """Fit calibration and T by maximum likelihood alone, without a sparse T or shrinkage."""
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


def scale_noise(transition: Float[Tensor, "c c"], least: float) -> Float[Tensor, "c c"]:
    """Scale the off-diagonal cells of T so that the mean error rate is at least `least`.

    Examples:
        >>> scale_noise(torch.tensor([[0.9, 0.1], [0.0, 1.0]]), 0.1)
        tensor([[0.8000, 0.2000],
                [0.0000, 1.0000]])
    """
    rates = 1 - transition.diagonal()
    factor = max(1.0, min(least, MAX_ERROR_RATE) / max(float(rates.mean()), 1e-6))
    # A row is not scaled beyond the largest rate, where its labels would be none of its class.
    factors = torch.minimum(torch.tensor(factor), MAX_ERROR_RATE / rates.clamp_min(1e-6))
    scaled = transition * factors.clamp_min(1.0)[:, None]
    scaled.fill_diagonal_(0)
    return scaled + torch.diag(1 - scaled.sum(1))


def _fit_likelihood(
    logits: Tensor,
    labels: Tensor,
    transition: Tensor | None,
    known_one_hot: Tensor | None,
    prior: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Fit p(t | x), and T unless it is given, by penalized maximum likelihood with L-BFGS.

    `prior` are further pseudo-counts of a free T, [c, c].
    """
    classes = logits.shape[1]
    scale, shift = torch.zeros(1).requires_grad_(), torch.zeros(classes).requires_grad_()
    log_transition = (
        (make_initial_transition(classes) if transition is None else transition)
        .log()
        .requires_grad_(transition is None)
    )
    params = [scale, shift, *([log_transition] if transition is None else [])]
    prior_counts = DIAGONAL_PRIOR * torch.eye(classes) + UNIFORM_PRIOR
    if prior is not None:
        prior_counts = prior_counts + prior
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
