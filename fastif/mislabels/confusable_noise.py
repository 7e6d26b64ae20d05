"""Instance-dependent label noise: classes that the classifier confuses, and frequent ones.

A transition matrix has the same rates for all rows of a class. Annotators and rules rather confuse
classes between which the features hardly decide, and then use a frequent label. Under such noise,
a likely second class is evidence against a label, while an unlikely label alone is not.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot

from fastif.mislabels.noise_fit import (
    INITIAL_ERRORS,
    MAX_LOG_SCALE,
    PENALTY,
    STEPS,
    WeightedLabels,
)
from fastif.numerics.optimize import minimize_lbfgs

EXPONENTS = (0.5, 1.0)
"""Candidate exponents of confusable noise; 0 is symmetric noise."""

MAX_ERROR = 0.95
"""Largest error rate that the anchor points may demand, as for T."""

MIN_WEIGHT = 1e-3
"""Weight in the mean below which a noise model is left out."""


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Fitted noise model of n rows.

    Attributes:
        p: Class probabilities p(t | x), [n, c].
        transition: Noise transition matrix T, the mean over the rows of each class, [c, c].
        posterior: p(t | x, y) by each row's own label, [n, c].
    """

    p: Float[Tensor, "n c"]
    transition: Float[Tensor, "c c"]
    posterior: Float[Tensor, "n c"]

    def scale(self, weight: float) -> "NoiseModel":
        """Return the model with all probabilities times a weight, as a part of a mean."""
        return NoiseModel(weight * self.p, weight * self.transition, weight * self.posterior)

    def add(self, other: "NoiseModel") -> "NoiseModel":
        """Return the sum with another part of a mean."""
        return NoiseModel(
            self.p + other.p, self.transition + other.transition, self.posterior + other.posterior
        )


@dataclass(frozen=True, eq=False)
class ConfusableFit:
    """Maximum likelihood fit of calibration and confusable noise.

        T_i[t, y] = ε k_i[y] / Σ_{s ≠ t} k_i[s]   for y ≠ t,   T_i[t, t] = 1 - ε
        k_i[y] = (p(y | x_i) · share of the given label y)^γ

    Attributes:
        exponent: Exponent γ of the class weights k.
        scale: log a of the calibration, [1].
        shift: b of the calibration, [c].
        log_odds: log of ε / (1 - ε), [1].
        log_shares: Log of the shares of the given labels, [c].
        log_likelihood: Log-likelihood of the given labels, nats.
    """

    exponent: float
    scale: Float[Tensor, "1"]
    shift: Float[Tensor, " c"]
    log_odds: Float[Tensor, "1"]
    log_shares: Float[Tensor, " c"]
    log_likelihood: float

    def predict(
        self,
        log_probs: Float[Tensor, "n c"],
        labels: Int[Tensor, " n"],
        least_error: float = 0.0,
    ) -> NoiseModel:
        """Return the noise model of rows, with an error rate ε of at least `least_error`."""
        least_error = min(least_error, MAX_ERROR)
        least = math.log(least_error / (1 - least_error)) if least_error > 0 else -math.inf
        log_odds = self.log_odds.clamp_min(least)
        log_classes = _calibrate(log_probs, self.scale, self.shift)
        joint = log_classes + _compute_label_rates(
            log_classes, labels, self.log_shares, log_odds, self.exponent
        )
        p, rate = log_classes.exp(), float(log_odds.sigmoid())
        log_kernel = self.exponent * (log_classes + self.log_shares)
        shares = (p / _sum_others(log_kernel).exp()).T @ log_kernel.exp()
        shares.fill_diagonal_(0)
        transition = rate * shares / shares.sum(1, keepdim=True).clamp_min(1e-30)
        transition += (1 - rate) * torch.eye(len(transition))
        return NoiseModel(p, transition, joint.softmax(1))


def fit_confusable_noise(rows: WeightedLabels, exponent: float) -> ConfusableFit:
    """Fit instance-dependent noise (Berthon et al., 2021) by penalized maximum likelihood.

    Calibration and error rate are fitted together; the form of the noise is `ConfusableFit`.

    Args:
        rows: Rows whose labels are explained, of three or more classes: of two, there is a single
            wrong label, and the noise is symmetric.
        exponent: γ, from 0 (any other class is as likely) to 1.
    """
    fits = [_fit_from(rows, exponent, error) for error in INITIAL_ERRORS]
    return max(fits, key=lambda fit: fit.log_likelihood)


def average_noise_models(
    make_models: Sequence[Callable[[], NoiseModel]], log_evidence: Sequence[float]
) -> NoiseModel:
    """Average noise models with weights exp(criterion) (Hoeting et al., 1999).

    Models of a weight below 0.1 % are left out, so that uniform noise is ranked by its matrix
    alone, and those whose fit has diverged: their criterion is no number.

    Args:
        make_models: Functions that return the models; the first is always finite.
        log_evidence: Criterion of each model, nats.

    Examples:
        >>> even = torch.full((1, 2), 0.5)
        >>> sure = torch.tensor([[1.0, 0.0]])
        >>> models = [lambda p=p: NoiseModel(p, torch.eye(2), p) for p in (even, sure)]
        >>> average_noise_models(models, [0.0, 0.0]).posterior
        tensor([[0.7500, 0.2500]])
    """
    evidence = torch.tensor(log_evidence, dtype=torch.float64)
    weights = torch.where(evidence.isfinite(), evidence, -torch.inf).softmax(0)
    weights = torch.where(weights >= MIN_WEIGHT, weights, 0.0)
    average = None
    for make_model, weight in zip(make_models, (weights / weights.sum()).tolist(), strict=True):
        if weight:
            model = make_model()
            average = model.scale(weight) if average is None else average.add(model.scale(weight))
    assert average is not None
    return average


def score_confusable_noise(fit: ConfusableFit, count: float, misfit: float = 1.0) -> float:
    """Return the extended BIC of a fit: log L - g [½ log n + log(number of exponents with 0)].

    A classifier that confuses classes in its own way looks like confusable noise, the more surely
    the more rows there are. So its parameter costs g times as much, as a cell of T does.

    Args:
        fit: Fit to the rows.
        count: Number of independent rows n.
        misfit: Gain of matrix scaling g, see `select_sparse_transition`.
    """
    return fit.log_likelihood - misfit * (math.log(count) / 2 + math.log(len(EXPONENTS) + 1))


def _fit_from(rows: WeightedLabels, exponent: float, error: float) -> ConfusableFit:
    """Fit from a fraction of wrong labels, without calibration at first."""
    scale, shift = torch.zeros(1).requires_grad_(), torch.zeros(rows.classes).requires_grad_()
    log_odds = torch.full((1,), math.log(error / (1 - error))).requires_grad_()
    log_shares = _compute_log_shares(rows)

    def compute_log_likelihoods() -> Tensor:
        log_classes = _calibrate(rows.log_probs, scale, shift)
        joint = log_classes + _compute_label_rates(
            log_classes, rows.labels, log_shares, log_odds, exponent
        )
        known = (rows.known_one_hot * joint).sum(1)
        return rows.weights * torch.where(rows.is_known, known, joint.logsumexp(1))

    def loss() -> Tensor:
        # Two pseudo-counts of a right label and a tenth of a wrong one, as for a sparse T.
        prior = 2 * logsigmoid(-log_odds) + 0.1 * logsigmoid(log_odds)
        penalty = PENALTY * (shift.square().sum() + scale.square().sum())
        return (-compute_log_likelihoods().sum() - prior.sum()) / rows.count + penalty

    params = [scale, shift, log_odds]
    minimize_lbfgs(loss, params, max_iter=STEPS, history_size=10, tolerance_grad=1e-6)
    with torch.no_grad():
        total = float(compute_log_likelihoods().double().sum())
    return ConfusableFit(
        exponent, scale.detach(), shift.detach(), log_odds.detach(), log_shares, total
    )


def _compute_log_shares(rows: WeightedLabels) -> Float[Tensor, " c"]:
    """Log of the shares of the given labels, with half a pseudo-count each, [c]."""
    counts = torch.zeros(rows.classes).index_add_(0, rows.labels, rows.weights) + 0.5
    return (counts / counts.sum()).log()


def _calibrate(log_probs: Tensor, scale: Tensor, shift: Tensor) -> Float[Tensor, "n c"]:
    factor = scale.clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp()
    return (factor * log_probs + shift).log_softmax(1)


def _compute_label_rates(
    log_classes: Tensor, labels: Tensor, log_shares: Tensor, log_odds: Tensor, exponent: float
) -> Float[Tensor, "n c"]:
    """Log-rates T_i[t, y_i] of each row's given label, [n, c]."""
    log_kernel = exponent * (log_classes + log_shares)
    own = log_kernel.gather(1, labels[:, None])
    wrong = logsigmoid(log_odds) + own - _sum_others(log_kernel)
    right = logsigmoid(-log_odds).expand_as(wrong)
    is_right = one_hot(labels, log_classes.shape[1]).bool()
    return torch.where(is_right, right, wrong)


def _sum_others(log_kernel: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Logarithm of Σ_{s ≠ t} k[s], [n, c].

    The difference Σ_s k[s] - k[t] would cancel where t is nearly all of the sum, so that for the
    largest k[t] the others are summed.
    """
    largest, position = log_kernel.detach().max(1, keepdim=True)
    is_largest = torch.zeros_like(log_kernel, dtype=torch.bool).scatter(1, position, True)
    without = log_kernel.masked_fill(is_largest, -torch.inf).logsumexp(1, keepdim=True)
    kernel = (log_kernel - largest).exp().masked_fill(is_largest, 0.0)
    others = 1 + (kernel.sum(1, keepdim=True) - kernel).clamp_min(0.0)
    return torch.where(is_largest, without, largest + others.log())
