"""Student's t interval against SciPy, and its coverage of the mean."""

import math

import pytest
import torch
from scipy import stats

from fastif.numerics.t_interval import mean_t_interval


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("count", [2, 3, 30])
def test_the_interval_equals_scipy(count, confidence):
    generator = torch.Generator().manual_seed(count)
    values = torch.randn(count, generator=generator, dtype=torch.float64).tolist()
    mean, half = mean_t_interval(values, confidence)
    low, high = stats.t.interval(
        confidence, count - 1, loc=sum(values) / count, scale=stats.sem(values)
    )
    assert (mean - half, mean + half) == (pytest.approx(low), pytest.approx(high))


def test_one_value_has_an_infinite_interval():
    assert mean_t_interval([0.25]) == (0.25, math.inf)


def test_equal_values_have_zero_width():
    assert mean_t_interval([0.5, 0.5, 0.5]) == (0.5, 0.0)
