"""Probability of an error from the evidence, calibrated by injected errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.numerics.optimize import minimize_lbfgs

PENALTY = 1e-3
"""L2 penalty on the weights of standardized evidence."""
STEPS, ROUNDS = 200, 200
"""Largest numbers of L-BFGS iterations, and of rounds of the rate's estimate."""
MIN_RATE = 1e-4
"""Smallest estimated rate, so that no doubt is excluded."""


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Logistic regression of injected errors on the evidence.

    Attributes:
        mean, deviation: Mean and standard deviation of each feature.
        weight: Weights of the standardized features.
        bias: Log odds of an error at the mean of the features.
        rate: Share of errors, injected or not, among the doubts that it was fitted to.
    """

    mean: Float[Tensor, " f"]
    deviation: Float[Tensor, " f"]
    weight: Float[Tensor, " f"]
    bias: Float[Tensor, ""]
    rate: float

    def compute_log_ratio(self, features: Float[Tensor, "m f"]) -> Float[Tensor, " m"]:
        """Return the log likelihood ratio of an error against none."""
        logits = _standardize(features, self.mean, self.deviation) @ self.weight + self.bias
        return logits - torch.tensor(self.rate / (1 - self.rate), dtype=logits.dtype).log()


def fit_error_model(
    features: Float[Tensor, "m f"], injected: Bool[Tensor, " m"], num_signed: int = 0
) -> ErrorModel:
    """Fit logistic regression to injected errors, where further errors were there before.

    Injected errors are a random sample of all errors, so the probability that a doubt is injected
    is c σ(w x + b), with σ the probability of any error and c the share of injected ones (Elkan and
    Noto, 2008). All of w, b and c are estimated, with an L2 penalty on w.

    Args:
        features: Evidence of each doubt.
        injected: Whether the doubt is a injected error.
        num_signed: Number of first features that are evidence of an error, never against one.
    """
    mean, deviation = features.mean(0), features.std(0).clamp_min(1e-6)
    if not bool(injected.any()) or bool(injected.all()):
        weight = features.new_zeros(features.shape[1])
        return ErrorModel(mean, deviation, weight, features.new_zeros(()), 0.5)
    inputs, target = _standardize(features, mean, deviation), injected.to(features.dtype)
    weight = inputs.new_full((inputs.shape[1],), 0.5).requires_grad_()
    bias = target.mean().logit().clone().requires_grad_()
    share = inputs.new_full((), 1.0).requires_grad_()

    def loss() -> Tensor:
        logits = inputs @ _bound(weight, num_signed) + bias
        log_injected = torch.nn.functional.logsigmoid(logits) + torch.nn.functional.logsigmoid(
            share
        )
        log_other = (-log_injected.exp()).clamp_min(-1 + 1e-9).log1p()
        entropy = -(target * log_injected + (1 - target) * log_other).mean()
        return entropy + PENALTY / 2 * weight.square().sum()

    minimize_lbfgs(loss, [weight, bias, share], max_iter=STEPS)
    weight = _bound(weight, num_signed).detach()
    rate = float((inputs @ weight + bias.detach()).sigmoid().mean())
    return ErrorModel(mean, deviation, weight, bias.detach(), min(max(rate, MIN_RATE), 0.99))


def _bound(weight: Float[Tensor, " f"], num_signed: int) -> Float[Tensor, " f"]:
    """Return weights of which the first ones are 0 or more: more evidence is never less doubt."""
    return torch.cat([weight[:num_signed].square(), weight[num_signed:]])


def _standardize(
    features: Float[Tensor, "m f"], mean: Float[Tensor, " f"], deviation: Float[Tensor, " f"]
) -> Float[Tensor, "m f"]:
    """Return standardized features, clipped to the range of the fit."""
    return ((features - mean) / deviation).clamp(-4, 4)


def estimate_probabilities(
    log_ratios: Float[Tensor, " m"], prior: float | None = None
) -> tuple[Float[Tensor, " m"], float]:
    """Estimate the rate of errors by expectation maximization (Saerens et al., 2002).

    The likelihood ratios are those of injected errors; only their rate is another one here.

    Args:
        log_ratios: Log likelihood ratio of each doubt.
        prior: First rate; 0.05 by default.

    Returns:
        Probability of an error of each doubt, and the estimated rate.

    Examples:
        >>> ratios = torch.tensor([9.0] + [-9.0] * 9, dtype=torch.float64)
        >>> round(estimate_probabilities(ratios)[1], 2)
        0.1
    """
    rate = 0.05 if prior is None else prior
    probabilities = torch.zeros_like(log_ratios)
    for _ in range(ROUNDS):
        odds = torch.tensor(rate / (1 - rate), dtype=log_ratios.dtype).log()
        probabilities = (log_ratios + odds).sigmoid()
        updated = min(max(float(probabilities.mean()), MIN_RATE), 1 - MIN_RATE)
        if abs(updated - rate) < 1e-7:
            break
        rate = updated
    return probabilities, rate


def stack_features(rows: Sequence[tuple[float, ...]]) -> Float[Tensor, "m f"]:
    """Return the evidence of doubts as a matrix in double precision."""
    return torch.tensor(list(rows), dtype=torch.float64).view(len(rows), -1)
