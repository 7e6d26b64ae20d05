"""Logistic recalibration of error probabilities on reviewed rows."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit

MAX_STEPS, TOLERANCE, LEAST_SCALE = 50, 1e-7, 1e-6
"""Limits of Newton's method: steps, last change of a coefficient, and shortening of a step."""


def fit_recalibration(
    logits: Float[np.ndarray, " m"],
    wrong: Bool[np.ndarray, " m"] | Float[np.ndarray, " m"],
    penalty: tuple[float, float],
    weights: Float[np.ndarray, " m"] | None = None,
) -> tuple[float, float]:
    """Fit a logistic recalibration p = σ(a + b · logit), b ≥ 0 (Cox, 1958).

    a and b maximize the weighted likelihood, with an L2 penalty towards a = 0, b = 1, by Newton's
    method with step halving.

    Args:
        logits: Logit of the error probability of each reviewed row, [m].
        wrong: Whether each label was wrong, [m].
        penalty: L2 penalties of a and of b - 1, in pseudo-observations.
        weights: Weight of each row, [m]; None for 1 each.

    Returns:
        a and b.

    Examples:
        >>> import numpy as np
        >>> a, b = fit_recalibration(np.zeros(4), np.array([1.0, 1, 1, 0]), (1e-6, 1.0))
        >>> round(a, 3), b
        (1.099, 1.0)
    """
    weights = np.ones(len(logits)) if weights is None else weights
    strength, start = np.array(penalty), np.array([0.0, 1.0])

    def loss(point: np.ndarray) -> float:
        linear = point[0] + point[1] * logits
        terms = weights @ (np.logaddexp(0.0, linear) - wrong * linear)
        return float(terms + strength @ (point - start) ** 2 / 2)

    point = start.copy()
    for _ in range(MAX_STEPS):
        move = _compute_newton_step(point, logits, wrong, weights, strength, start)
        before, scale = loss(point), 1.0
        while True:  # shorter steps until the loss falls
            following = np.array([point[0] - scale * move[0], max(point[1] - scale * move[1], 0.0)])
            if loss(following) <= before or scale < LEAST_SCALE:
                break
            scale /= 2
        change, point = np.abs(following - point).max(), following
        if change < TOLERANCE:
            break
    return float(point[0]), float(point[1])


def _compute_newton_step(
    point: np.ndarray,
    logits: np.ndarray,
    wrong: np.ndarray,
    weights: np.ndarray,
    strength: np.ndarray,
    start: np.ndarray,
) -> np.ndarray:
    p = expit(point[0] + point[1] * logits)
    residuals, curvature = weights * (p - wrong), weights * p * (1 - p)
    gradient = np.array([residuals.sum(), residuals @ logits]) + strength * (point - start)
    diagonal = np.array([curvature.sum(), curvature @ logits**2]) + strength
    if point[1] == 0 and gradient[1] >= 0:  # the bound of the slope is active
        return np.array([gradient[0] / diagonal[0], 0.0])
    cross = curvature @ logits
    inverse = np.array([[diagonal[1], -cross], [-cross, diagonal[0]]])
    return inverse @ gradient / (diagonal.prod() - cross * cross)
