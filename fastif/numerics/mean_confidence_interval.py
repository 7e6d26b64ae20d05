"""Confidence interval of a mean of few values in [0, 1], for any distribution."""

import torch
from jaxtyping import Float
from torch import Tensor

CONFIDENCE = 0.95
SAMPLES, SEED = 20_000, 141_421_356


def mean_confidence_interval(
    values: Float[Tensor, " q"], weights: Float[Tensor, " q"] | None = None
) -> tuple[float, float]:
    """Distribution-free 95 % confidence interval of a mean of values in [0, 1] (Gaffke, 2005).

    One value at the worst end, 0 or 1, is added, and all are weighted at random (uniform
    Dirichlet); the bound is the 2.5 % quantile of such means (Learned-Miller and Thomas, 2020). For
    zeros and ones it is the exact Clopper-Pearson interval. Values that differ little give a
    narrower interval, but never an empty one. No violation of its coverage is known, nor a proof
    for all distributions.

    Args:
        values: Sample [q] of values from 0 to 1.
        weights: Weights [q] for unequal sampling probabilities; equal by default. The added value
            has the largest of them.

    Returns:
        Lower and upper bound.

    Examples:
        >>> [round(bound, 2) for bound in mean_confidence_interval(torch.ones(8))]
        [0.63, 1.0]
        >>> [round(bound, 2) for bound in mean_confidence_interval(torch.full((8,), 0.8))]
        [0.51, 0.87]
    """
    values = values.double()
    weights = torch.ones_like(values) if weights is None else weights.double()
    generator = torch.Generator().manual_seed(SEED)
    samples = torch.empty(SAMPLES, len(values) + 1, dtype=torch.float64)
    masses = samples.exponential_(generator=generator) * torch.cat([weights, weights.max()[None]])
    masses /= masses.sum(1, keepdim=True)
    mean = float(values @ weights / weights.sum())
    means, added = masses[:, :-1] @ values, masses[:, -1]
    tail = (1 - CONFIDENCE) / 2
    low, high = means.quantile(tail), (means + added).quantile(1 - tail)
    return max(0.0, min(mean, float(low))), min(1.0, max(mean, float(high)))
