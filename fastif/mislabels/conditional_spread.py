"""Conditional spread of residuals, so that noisy rows are not taken for errors."""

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.mislabels.robust_ridge import RobustRidge, compute_quantiles

WINDOW = 101
"""Number of rows with the nearest predictions whose median is a spread."""
LEAST_SPREAD = 0.05
"""Least spread relative to the median one: a few rows that are fitted well prove little."""
MIN_ROWS = 100
"""Least number of rows for a spread that is not the same everywhere."""


def estimate_spread(
    ridge: RobustRidge, residuals: Float[Tensor, " n"], predicted: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Estimate the conditional spread of residuals: constant, by prediction, or by features.

    The logarithm of the absolute residual is regressed on each, out of fold; the one with the
    least mean absolute error is used. The logarithm keeps errors from widening the spread of
    others.

    Args:
        ridge: Cross-fitted regression on the features.
        residuals: Out-of-fold residuals, [n].
        predicted: Out-of-fold predictions, [n].

    Returns:
        Spread of each row, up to a factor that is the same for all rows, [n].
    """
    size = residuals.abs()
    typical = compute_quantiles(size, (0.5,))[0]
    least = max(1e-3 * typical, 1e-9)
    logs = size.clamp_min(least).log()
    constant = torch.full_like(logs, compute_quantiles(logs, (0.5,))[0])
    if len(logs) < MIN_ROWS:
        return constant.exp()
    candidates = [constant, _smooth_by_prediction(logs, predicted), ridge.cross_fit(logs)]
    errors = [float((logs - candidate).abs().mean()) for candidate in candidates]
    # A spread that is not the same everywhere has to pay for itself.
    errors[0] -= float((logs - constant).abs().std()) / len(logs) ** 0.5
    best = candidates[errors.index(min(errors))]
    return best.exp().clamp_min(LEAST_SPREAD * float(constant[0].exp()))


def _smooth_by_prediction(
    logs: Float[Tensor, " n"], predicted: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Median of the rows with the nearest predictions, the row itself left out."""
    order = predicted.argsort(stable=True)
    n = len(order)
    half = min(WINDOW, n - 1) // 2
    starts = (torch.arange(n) - half).clamp(0, n - 2 * half - 1)
    windows = starts[:, None] + torch.arange(2 * half + 1)
    values = logs[order][windows].masked_fill(windows == torch.arange(n)[:, None], torch.nan)
    smoothed = torch.empty_like(logs)
    smoothed[order] = values.nanmedian(1).values
    return smoothed
