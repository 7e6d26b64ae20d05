"""Logistic recalibration of error probabilities on reviewed rows."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit

MAX_STEPS = 50
MAX_MOVE = 2.0
"""Largest change of a coefficient in a step of Newton's method, which otherwise may diverge."""


def fit_recalibration(
    logits: Float[np.ndarray, " m"],
    wrong: Bool[np.ndarray, " m"] | Float[np.ndarray, " m"],
    penalty: tuple[float, float],
    weights: Float[np.ndarray, " m"] | None = None,
) -> tuple[float, float]:
    """Fit a logistic recalibration p = σ(a + b · logit), b ≥ 0 (Cox, 1958).

    a and b maximize the weighted likelihood, with an L2 penalty towards a = 0, b = 1, by Newton's
    method.

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
    point = start.copy()
    for _ in range(MAX_STEPS):
        p = expit(point[0] + point[1] * logits)
        residuals, curvature = weights * (p - wrong), weights * p * (1 - p)
        gradient = np.array([residuals.sum(), residuals @ logits]) + strength * (point - start)
        cross = curvature @ logits
        hessian = np.array([[curvature.sum(), cross], [cross, curvature @ logits**2]])
        hessian += np.diag(strength)
        if point[1] == 0 and gradient[1] >= 0:  # the bound is active
            move = np.array([gradient[0] / hessian[0, 0], 0.0])
        else:
            (r, s), (_, u) = hessian
            move = np.array([[u, -s], [-s, r]]) @ gradient / (r * u - s * s)
        following = point - np.clip(move, -MAX_MOVE, MAX_MOVE)
        following[1] = max(following[1], 0.0)
        if np.abs(following - point).max() < 1e-8:
            break
        point = following
    return float(point[0]), float(point[1])
