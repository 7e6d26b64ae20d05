"""Weights of several classifiers' evidence, by penalized maximum likelihood of the given labels."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.numerics.optimize import minimize_lbfgs

STEPS = 60
"""Maximum number of L-BFGS iterations."""
MAX_ROWS = 100_000
"""Maximum number of rows that the weights are fitted to, a random sample of the others."""


def fit_evidence_weights(
    log_ratios: Sequence[Float[Tensor, "n c"]],
    parameters: Sequence[float],
    log_rates: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
) -> Float[Tensor, " k"]:
    """Fit exponents of the likelihood ratios of k classifiers, in [0, 1] (Akaike, 1974).

        Σ_i log Σ_t p_a(t) T[t, y_i] - Σ_k a_k m_k,   p_a(t) ∝ p(t) Π_k r_k(t)^a_k

    is maximized by L-BFGS, with the effective number m_k of parameters of each classifier. Two
    classifiers that make the same errors share one weight; a random one has none.

    Args:
        log_ratios: Log-likelihood ratios log r_k(t) of each classifier, [n, c].
        parameters: Effective number of parameters m_k of each classifier.
        log_rates: log T[t, y] of each row; minus infinity for all but the right class of a reviewed
            row, [n, c].
        labels: Given label of each row, [n].

    Returns:
        The exponents a, [k].
    """
    if not log_ratios:
        return torch.zeros(0)
    rows = len(labels)
    sample = torch.randperm(rows, generator=torch.Generator().manual_seed(0))[:MAX_ROWS]
    sample = sample.sort().values
    stacked = torch.stack([ratio[sample] for ratio in log_ratios]).double()
    penalty = torch.tensor(parameters, dtype=torch.float64) * (len(sample) / rows)
    log_shares = compute_log_shares(labels, stacked.shape[2]).double()
    log_rates = log_rates[sample].double().clamp_min(-1e9)
    logits = torch.zeros(len(penalty), dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        exponents = logits.sigmoid()
        log_probs = (log_shares + (exponents[:, None, None] * stacked).sum(0)).log_softmax(1)
        return (penalty * exponents).sum() - (log_probs + log_rates).logsumexp(1).sum()

    minimize_lbfgs(loss, [logits], max_iter=STEPS)
    return logits.detach().sigmoid().float()


def explained_entropy(
    log_ratio: Float[Tensor, "n c"],
    parameters: float,
    transition: Float[Tensor, "c c"],
    labels: Int[Tensor, " n"],
    counted: Bool[Tensor, " n"],
) -> float:
    """Adjusted pseudo-R² of the given labels by one classifier (McFadden, 1974), in [0, 1].

        max(0, (log-likelihood - m + n H) / n H)

    with the likelihood Σ_t p(t | prediction) T[t, y], m parameters and entropy H of the labels.

    Args:
        log_ratio: Log-likelihood ratios of the predictions, [n, c].
        parameters: Effective number of parameters m.
        transition: Noise transition matrix T, [c, c].
        labels: Given label of each row, [n].
        counted: Mask of the rows with a prediction, [n].
    """
    if not bool(counted.any()):
        return 0.0
    given = labels[counted]
    log_shares = compute_log_shares(given, len(transition))
    p = (log_shares + log_ratio[counted]).softmax(1)
    log_likelihood = (p * transition[:, given].T).sum(1).clamp_min(1e-30).log().sum()
    # The labels' entropy under the same noise model, so that a classifier without evidence has 0.
    baseline = (log_shares.exp() @ transition)[given].clamp_min(1e-30).log().sum()
    gain = float(log_likelihood - baseline) - parameters
    return min(1.0, max(0.0, gain / max(-float(baseline), 1e-9)))


def compute_log_shares(labels: Int[Tensor, " n"], classes: int) -> Float[Tensor, " c"]:
    """Log of the class shares of the given labels, with a pseudo-count of 1 each, [c]."""
    counts = labels.bincount(minlength=classes) + 1.0
    return (counts / counts.sum()).log()
