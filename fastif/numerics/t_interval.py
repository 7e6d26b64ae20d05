"""Student's t interval of a mean."""

from collections.abc import Sequence

import torch
from scipy import stats

CONFIDENCE = 0.95


def mean_t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Mean m and half width t s / √n of Student's interval (m - half, m + half) of the mean.

    s is the standard deviation with n - 1 below, and t the quantile of n - 1 degrees of freedom. Of
    a single value the interval is the whole line.

    Args:
        values: the n numbers, at least one.
        confidence: how often intervals like this hold the mean, for normal values.

    >>> mean, half = mean_t_interval([1.0, 2.0, 3.0])
    >>> round(mean, 3), round(half, 3)
    (2.0, 2.484)
    """
    numbers = torch.as_tensor(values, dtype=torch.float64)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return mean, float("inf")
    t = float(stats.t.ppf(0.5 + confidence / 2, len(numbers) - 1))
    return mean, t * float(numbers.std()) / len(numbers) ** 0.5
