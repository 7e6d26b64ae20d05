"""How often a class is labelled as another, and what a label says when this is known.

noise[t, y] is the probability that a row of class t is labelled y. With a classifier's p(t | x) and
labels that depend on x through t alone, p(t | x, y) is proportional to p(t | x) noise[t, y].
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.mislabels.calibration import calibrate_logits
from fastif.numerics.optimize import minimize_lbfgs

ASSUMED_ACCURACY = 0.7
"""Share of right labels that is assumed before anything is known."""

MAX_LOG_SCALE = 10.0
"""Of the logarithm of the number that logits are multiplied by."""

DIAGONAL_PRIOR, UNIFORM_PRIOR = 2.0, 0.1
"""Rows that are counted in advance: rightly labelled ones of each class, and of each other kind."""

STEPS = 30

ANCHOR_SHARES, MIN_ANCHOR_ROWS = (0.02, 0.05, 0.1, 0.25), 20
"""Shares of the rows predicted to be of a class, and least number, that are taken for certain."""

ANCHOR_PRIOR = 5.0
"""Rows that are counted in advance at each class's anchors, with the noise of all classes."""

SUFFICIENT_PSEUDO_R2 = 0.3
"""Of the labels' uncertainty, that features take away where every class has a noise of its own."""

PENALTY = 1e-4
"""Of the squared numbers that calibrate logits: without it a class without rows has none."""


def make_initial_transition(classes: int) -> Float[Tensor, "c c"]:
    """Noise before anything is known: the same for all classes."""
    transition = torch.full((classes, classes), (1 - ASSUMED_ACCURACY) / (classes - 1))
    return transition.fill_diagonal_(ASSUMED_ACCURACY)


def compute_posterior(
    p: Float[Tensor, "n c"], labels: Int[Tensor, " n"], transition: Float[Tensor, "c c"]
) -> Float[Tensor, "n c"]:
    """p(t | x, y) for each row.

    >>> compute_posterior(torch.tensor([[0.5, 0.5]]), torch.tensor([0]), make_initial_transition(2))
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
    """Maximum likelihood estimate of the noise transition matrix by EM from `transition`.

    Args:
        p: the classifier's belief in each row's class.
        labels: as given.
        transition: to start from.
        steps: of the iteration.
        known_one_hot: one-hot rows for those whose class is certain, zeros for the others.
        temper: how far classes may differ; see `shrink_to_symmetric`.
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
    """Noise between that which is the same for all classes (0) and itself (1), geometrically."""
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
    """p(t | x) and the noise that together make the labels likeliest.

    p(t | x) = softmax(a · logits + b), and a label has the probability sum over t of p(t | x)
    noise[t, y]: a head that was fitted to noisy labels is calibrated through the noise, which it
    would else count twice. Where a row's certainty hardly differs from another's, little noise and
    unsure logits explain as much as much noise and sure ones; so of two answers that with more
    noise is taken, class by class: this, and what the surest rows of a class say
    (`estimate_anchor_transition`). Where features say little of labels, classes' noises cannot be
    told apart, and are the more
    alike the less they say: with the square of it, for doubt that is taken for the noise of some
    classes moves all of their rows.

    Args:
        logits: of heads that have not seen the row.
        labels: as given.
        known_one_hot: one-hot rows for those whose class is certain, zeros for the others.
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
    """The same by likelihood alone, every class with the noise of its own."""
    return _fit_likelihood(logits, labels, None, known_one_hot)


def label_log_likelihood(
    logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Log-likelihood of each label under `fit_joint_mle`."""
    p, transition = fit_joint_mle(logits, labels)
    return (p * transition[:, labels].T).sum(1).log()


def compute_shrinkage(r_squared: float) -> float:
    """1 where features take enough of the labels' uncertainty away to tell noise from doubt."""
    return min(1.0, r_squared / SUFFICIENT_PSEUDO_R2)


def calibrated_pseudo_r2(logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """Share of the labels' uncertainty that logits of heads that have not seen them take away."""
    return pseudo_r2(calibrate_logits(logits, labels).log_softmax(1), labels)


def pseudo_r2(log_probs: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> float:
    """The same of log-probabilities as they are."""
    label_log_probs = log_probs.gather(1, labels[:, None])
    class_shares = labels.bincount().double() / len(labels)
    label_entropy = float(
        -(class_shares[class_shares > 0] * class_shares[class_shares > 0].log()).sum()
    )
    return max(0.0, 1 + float(label_log_probs.mean()) / label_entropy)


def estimate_anchor_transition(
    logits: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
) -> Float[Tensor, "c c"]:
    """The labels of the surest rows of each class, as if they were certainly of it.

    Anchor points (Liu and Tao, 2016; Patrini and others, 2017), but a share of each class. Of
    several shares that with the fewest other labels is taken: where a smaller one has fewer, what
    the larger one has is doubt and not noise.
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
    """p(t | x) and the noise; fitted too where it is not given."""
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
        # Where logits say nothing, a step of the line search may go so far that exp overflows.
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
