"""Probability of each kind of error from the evidence, learnt from injected errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.numerics.optimize import minimize_lbfgs

PENALTY, TYPICAL = 1e-3, 0.5
"""L2 penalty on the distance from the typical weight of signed, standardized evidence."""
FIRST_RATE = 0.03
"""First rate of each kind of error."""
STEPS = 200
"""Largest number of L-BFGS iterations."""
LIMIT = 4.0
"""Largest standardized evidence, in standard deviations from the mean."""


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Mixture of right and wrong annotations, with a log-linear density ratio of each kind.

    Attributes:
        mean, deviation: Mean and standard deviation of each feature.
        weight: Weights of the standardized features by kind.
        bias: Log density ratio of each kind at the mean of the features.
        rates: Share of each kind of error.
    """

    mean: Float[Tensor, " f"]
    deviation: Float[Tensor, " f"]
    weight: Float[Tensor, "k f"]
    bias: Float[Tensor, " k"]
    rates: Float[Tensor, " k"]

    def compute_probabilities(
        self, features: Float[Tensor, "m f"], possible: Bool[Tensor, "m k"] | None = None
    ) -> Float[Tensor, "m k"]:
        """Return the probability of each kind of error.

        Args:
            features: Evidence of each annotation.
            possible: Kinds that an annotation can have; all by default.
        """
        inputs = _standardize(features, self.mean, self.deviation)
        scores = inputs @ self.weight.T + self.bias + self.rates.log()
        if possible is not None:
            scores = scores.masked_fill(~possible, float("-inf"))
        right = (1 - self.rates.sum()).log().expand(len(scores), 1)
        return torch.cat([right, scores], 1).softmax(1)[:, 1:]


def fit_error_model(
    features: Float[Tensor, "m f"],
    injected: Int[Tensor, " m"],
    signs: Bool[Tensor, "k f"],
    expected: float,
) -> ErrorModel:
    """Fit the densities of injected errors, where further errors were there before.

    Where an error is not injected, the annotation is a mixture of right ones and of errors of each
    kind, with the density of the injected ones: the evidence of positive and unlabelled examples
    (Elkan and Noto, 2008) with several kinds. Rates and log-linear ratios are those of largest
    likelihood, with an L2 penalty on weights and an exponential prior of each rate.

    Args:
        features: Evidence of each annotation.
        injected: Number of the kind of an injected error, from 1; 0 for all others.
        signs: Features that never count against an error of each kind.
        expected: Number of errors of each kind among the examples by the prior.
    """
    mean, deviation = features.mean(0), features.std(0).nan_to_num().clamp_min(1e-6)
    inputs, kinds = _standardize(features, mean, deviation), len(signs)
    counts = torch.bincount(injected, minlength=kinds + 1).to(inputs.dtype)
    shares = ((counts + 0.01) / counts.sum()).log()
    typical = TYPICAL * signs.to(inputs.dtype)
    weight = typical.sqrt().requires_grad_()
    bias = inputs.new_full((kinds,), -1.0).requires_grad_()
    scores = inputs.new_full((kinds,), FIRST_RATE).log().requires_grad_()

    def loss() -> Tensor:
        bounded = _bound(weight, signs)
        ratios = inputs @ bounded.T + bias
        log_rates = torch.cat([scores.new_zeros(1), scores]).log_softmax(0)
        mixed = torch.cat([log_rates[:1].expand(len(ratios), 1), ratios + log_rates[1:]], 1)
        logits = torch.cat([mixed.logsumexp(1, keepdim=True), ratios], 1) + shares
        entropy = torch.nn.functional.cross_entropy(logits, injected)
        counts = log_rates[1:].exp() * len(inputs)
        prior = (counts / expected - 0.5 * log_rates[1:]).sum() / len(inputs)
        return entropy + PENALTY / 2 * (bounded - typical).square().sum() + prior

    minimize_lbfgs(loss, [weight, bias, scores], max_iter=STEPS)
    rates = torch.cat([scores.new_zeros(1), scores]).softmax(0)[1:].detach()
    return ErrorModel(mean, deviation, _bound(weight, signs).detach(), bias.detach(), rates)


def _bound(weight: Float[Tensor, "k f"], signs: Bool[Tensor, "k f"]) -> Float[Tensor, "k f"]:
    """Return weights of which the signed ones are 0 or more: more evidence is never less doubt."""
    return torch.where(signs, weight.square(), weight)


def _standardize(
    features: Float[Tensor, "m f"], mean: Float[Tensor, " f"], deviation: Float[Tensor, " f"]
) -> Float[Tensor, "m f"]:
    """Return standardized features, clipped to the range of the fit."""
    return ((features - mean) / deviation).clamp(-LIMIT, LIMIT)


def stack_features(rows: Sequence[tuple[float, ...]]) -> Float[Tensor, "m f"]:
    """Return the evidence of annotations as a matrix in double precision."""
    return torch.tensor(list(rows), dtype=torch.float64).view(len(rows), -1)
