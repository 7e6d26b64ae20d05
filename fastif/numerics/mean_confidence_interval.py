"""Bounds of a mean from few numbers between 0 and 1, whatever their distribution."""

import torch
from jaxtyping import Float
from torch import Tensor

CONFIDENCE = 0.95
SAMPLES, SEED = 20_000, 141_421_356


def mean_confidence_interval(
    values: Float[Tensor, " q"], weights: Float[Tensor, " q"] | None = None
) -> tuple[float, float]:
    """95 % interval of the mean of what the values were drawn from.

    One value more is added at the worst end, 0 or 1, and all are weighed at random (Dirichlet with
    ones); the bound is the 2.5 % quantile of such means. So Gaffke (2005), studied by
    Learned-Miller and Thomas (2020). For zeros and ones it is the exact binomial interval of
    Clopper and Pearson; values that differ little give a narrower one, yet never an empty one: a
    few equal values do not prove that there are no others. No violation of its coverage is known,
    a proof for all distributions neither. Weights stand for unequal chances of having been drawn;
    the added value has the largest of them.

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
