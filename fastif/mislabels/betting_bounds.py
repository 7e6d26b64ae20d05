"""Confidence sequence of the number of wrong labels, by betting on the draws of an audit sample."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import expit, log_ndtr, ndtri

from fastif.mislabels.audit_draws import AuditDraw
from fastif.mislabels.recalibration import fit_recalibration

ALPHA = 0.1
"""Probability that the sequence of intervals ever misses the number: 90 % intervals."""
PLANNED_SHARE = 0.8
"""Share of the stake on the planned number of draws; the rest is for other numbers of draws."""
FIRST_HORIZON, HORIZONS = 0.3, 6
"""Other numbers of draws: 0.3 times the planned one, then doubled five times."""
PRIOR_SLOPE, PENALTY = 0.5, (0.25, 0.5)
"""Slope before any verdict, since detectors are overconfident, and L2 penalties of the
recalibration that predicts the next verdict."""
FIRST_STEPS, STEPS = 12, 2
"""Steps of Newton's method per draw."""
REFITTED, REFIT_EVERY = 20, 5
"""Verdicts after each of which the recalibration is fitted again, and the interval later."""
COARSE, FINE = 128, 64
"""Numbers of hypotheses in the search for the bounds, and in the refinement of each."""


def bound_total(draws: Sequence[AuditDraw], rows: float) -> tuple[float, float]:
    """Bounds of the number of wrong labels, by testing each number with a betting martingale.

    For a hypothetical number W, draw t has the inverse probability r of a row and the predicted
    error p, shifted such that Σ p = W over the target. Under the hypothesis

        y_t = r (wrong_t - p_t),   E[y_t | past] = W - known_t - Σ p

    so the wealth Π (1 + λ_t (y_t - E)) is a nonnegative martingale for any λ_t that depends on the
    past alone, and W is rejected where it ever reaches 1/α (Ville, 1939). This is a confidence
    sequence by betting (Waudby-Smith and Ramdas, 2024; Shekhar et al., 2023): the interval holds
    after every draw at once, for any predictions. λ replicates a one-touch option, whose value
    is the probability that a Brownian motion crosses a barrier before the planned number of draws,
    so that the wealth is spent where it is needed; among all bets on one horizon it is optimal for
    normal outcomes.

    Args:
        draws: Draws from the target, in order.
        rows: Number of rows of the target.

    Returns:
        Lower and upper bound, whole numbers of rows.
    """
    if not draws:
        return 0.0, rows
    predictions = _predict_errors(draws)
    grid = np.unique(np.round(np.linspace(*draws[-1].known_range, COARSE)))
    low, high = _find_neighbours(grid, _compute_evidence(draws, predictions, grid))
    fine = [np.round(np.linspace(*pair, FINE)) for pair in (low, high)]
    grid = np.unique(np.concatenate(fine))
    low, high = _find_neighbours(grid, _compute_evidence(draws, predictions, grid))
    # Numbers between the last rejected and the first accepted one were not tested.
    return min(low[0] + 1, low[1]), max(high[1] - 1, high[0])


def compute_evidence(
    draws: Sequence[AuditDraw], totals: Float[np.ndarray, " g"]
) -> Float[np.ndarray, " g"]:
    """Largest wealth in a bet against each number of wrong labels, as a fraction of 1/α, [g].

    By Ville's inequality it reaches 1 for the true number with probability α at most.

    Args:
        draws: Draws from the target, in order.
        totals: Hypothetical numbers of wrong labels, [g].
    """
    return _compute_evidence(draws, _predict_errors(draws), totals)


def estimate_total(draws: Sequence[AuditDraw]) -> float:
    """Unbiased estimate of the number of wrong labels: Raj's ordered estimator (1956).

        mean over t of (known_t + Σ p + r_t (wrong_t - p_t))

    Each term is a difference estimate (Särndal et al., 1992) with error probabilities p that depend
    on earlier verdicts alone, so that the mean is unbiased for any p. In a part of the
    table the number of draws is random; there the sum of all deviations has mean zero.

    Args:
        draws: Draws from the target, in order; at least one.
    """
    terms = []
    for draw, (a, b) in zip(draws, _predict_errors(draws), strict=True):
        p = expit(a + b * draw.logits)
        difference = draw.part * draw.factors[draw.cell] * (draw.wrong - p[draw.cell])
        terms.append(draw.known + float(draw.rows @ p) + difference)
    return float(np.mean(terms))


def _predict_errors(draws: Sequence[AuditDraw]) -> list[tuple[float, float]]:
    """Recalibration by the verdicts before each draw."""
    logits = PRIOR_SLOPE * np.array([draw.logits[draw.cell] for draw in draws])
    wrong = np.array([draw.wrong for draw in draws])
    fits: list[tuple[float, float]] = []
    a, b = 0.0, 1.0
    for t in range(len(draws)):
        if t < REFITTED or t % REFIT_EVERY == 0:
            a, b = fit_recalibration(logits[:t], wrong[:t], PENALTY)
        fits.append((a, PRIOR_SLOPE * b))
    return fits


def _compute_evidence(
    draws: Sequence[AuditDraw],
    predictions: Sequence[tuple[float, float]],
    grid: Float[np.ndarray, " g"],
) -> Float[np.ndarray, " g"]:
    """Largest wealth, as a fraction of 1/α, against each hypothetical number, [g]."""
    stakes = np.array([PLANNED_SHARE] + [(1 - PLANNED_SHARE) / HORIZONS] * HORIZONS)
    wealth = np.ones((2, len(stakes), len(grid)))
    largest, shift = np.zeros(len(grid)), np.zeros(len(grid))
    for t, (draw, (a, b)) in enumerate(zip(draws, predictions, strict=True)):
        left = grid - draw.known
        p, shift = _shift_to_total(a + b * draw.logits, draw.rows, left, shift)
        horizons = draw.horizon * np.array([1.0, *(FIRST_HORIZON * 2.0 ** np.arange(HORIZONS))])
        wealth *= _compute_returns(draw, p, left, wealth, stakes, horizons - t)
        largest = np.maximum(largest, (stakes @ wealth).max(0) * ALPHA / 2)
    return largest


def _shift_to_total(
    logits: Float[np.ndarray, " h"],
    rows: Float[np.ndarray, " h"],
    total: Float[np.ndarray, " g"],
    shift: Float[np.ndarray, " g"],
) -> tuple[Float[np.ndarray, "h g"], Float[np.ndarray, " g"]]:
    """Error probabilities by cell with Σ p near each total, and the shift of their logits.

    By Newton's method from the shift of the draw before. The bets subtract what is left of the
    difference, so that a few steps are enough.
    """
    share = np.clip(total / max(rows.sum(), 1.0), 1e-6, 1 - 1e-6) * rows.sum()
    for _ in range(FIRST_STEPS if not shift.any() else STEPS):
        p = expit(logits[:, None] + shift)
        slope = np.maximum(rows @ (p * (1 - p)), 1e-9)
        shift = np.clip(shift - np.clip((rows @ p - share) / slope, -1.5, 1.5), -25.0, 25.0)
    return expit(logits[:, None] + shift), shift


def _compute_returns(
    draw: AuditDraw,
    p: Float[np.ndarray, "h g"],
    left: Float[np.ndarray, " g"],
    wealth: Float[np.ndarray, "2 a g"],
    stakes: Float[np.ndarray, " a"],
    remaining: Float[np.ndarray, " a"],
) -> Float[np.ndarray, "2 a g"]:
    """Factors by which the wealth grows, in bets on more and on fewer errors."""
    factors = draw.factors[:, None]
    mean = left - draw.rows @ p
    variance = (draw.rows[:, None] * factors * p * (1 - p)).sum(0)
    y = draw.part * factors[draw.cell] * (draw.wrong - p[draw.cell]) - mean
    # Largest losses of the two bets, with every row of the drawn unit in the target.
    worst = np.stack([(factors * p).max(0) + mean, (factors * (1 - p)).max(0) - mean])
    touch = stakes[None, :, None] * wealth * ALPHA / 2  # the probability of a rejection
    barrier = -ndtri(np.clip(touch / 2, 1e-300, 0.49))
    hazard = np.exp(-(barrier**2) / 2 - log_ndtr(-barrier)) / np.sqrt(2 * np.pi)
    deviation = np.sqrt(np.maximum(variance, 1e-12) * np.maximum(remaining, 1.0)[:, None])
    bet = np.where(remaining[:, None] > 0, hazard / deviation, 0.0)
    bet = np.minimum(bet, 1 / np.maximum(worst, 1e-12)[:, None])
    return np.maximum(1 + np.array([1.0, -1.0])[:, None, None] * bet * y, 0.0)


def _find_neighbours(
    grid: Float[np.ndarray, " g"], largest: Float[np.ndarray, " g"]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Last rejected and first accepted number, and last accepted and first rejected one."""
    accepted = np.flatnonzero(largest < 1)
    if not len(accepted):  # between two numbers of the grid, or nowhere
        accepted = np.array([largest.argmin()])
    first, last = int(accepted[0]), int(accepted[-1])
    below = grid[max(first - 1, 0)]
    above = grid[min(last + 1, len(grid) - 1)]
    return (float(below), float(grid[first])), (float(grid[last]), float(above))
