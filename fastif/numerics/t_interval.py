"""Student's t confidence interval of a mean."""

from collections.abc import Sequence

import torch
from scipy import stats

CONFIDENCE = 0.95


def mean_t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's t interval: mean m and half width t s / √n of the interval m ± half width.

    s is the sample standard deviation (denominator n - 1) and t the quantile with n - 1 degrees of
    freedom. A single value gives an infinite half width.

    Args:
        values: Sample of n numbers, at least one.
        confidence: Coverage of the interval for normal values, from 0 to 1.

    Examples:
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
