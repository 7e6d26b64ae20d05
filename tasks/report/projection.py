"""Projection of training rows on two principal components, and its form in the page."""

import base64

import numpy as np
from jaxtyping import Float, UInt16
from scipy.sparse.linalg import svds

STEPS = 65535
"""Largest coordinate in the page: coordinates are 16-bit integers."""
CONSTANT = 1e-7
"""Share of the features' norm below which their deviations from the mean are rounding errors."""


def project_principal(
    features: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "n 2"], float]:
    r"""Principal component analysis (Hotelling, 1933): the first two components of each row.

    Scores are U Σ of the two largest singular values of the centred features. The sign of a
    component is that in which its loading of largest absolute value is positive, so that two
    computations agree.

    Args:
        features: Features of the rows; values that are not finite count as 0.

    Returns:
        Scores, in the unit of the features, and the share of the variance that they have, 0 to 1.

    Examples:
        >>> project_principal(np.array([[0.0, 1.0], [4.0, 1.0]]))[0].round(6).tolist()
        [[-2.0, 0.0], [2.0, 0.0]]
    """
    centred = np.nan_to_num(features, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float64)
    scores, size = np.zeros((len(centred), 2)), float(np.vdot(centred, centred))
    if not size:
        return scores, 0.0
    centred -= centred.mean(0)
    total = float(np.vdot(centred, centred))
    if total <= CONSTANT**2 * size:
        return scores, 0.0
    left, sizes, right = _factor(centred)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(1)])
    scores[:, : len(sizes)] = left * sizes * signs
    return scores, float((sizes**2).sum() / total)


def _factor(
    centred: Float[np.ndarray, "n d"],
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, " k"], Float[np.ndarray, "k d"]]:
    """Compute the two largest singular values and their vectors, the largest first."""
    if min(centred.shape) <= 2:  # the iterative method has to leave one out
        left, sizes, right = np.linalg.svd(centred, full_matrices=False)
        return left[:, :2], sizes[:2], right[:2]
    start = np.random.default_rng(0).standard_normal(min(centred.shape))
    left, sizes, right = svds(centred, k=2, v0=start)
    assert left is not None
    assert right is not None
    order = np.argsort(-sizes)
    return left[:, order], sizes[order], right[order]


def quantize(scores: Float[np.ndarray, "n 2"]) -> UInt16[np.ndarray, "n 2"]:
    """Round scores to 16-bit integers, with one unit for both axes.

    Distances keep their proportions. The error is at most half a step: the larger of the two ranges
    divided by 2 · 65,535.

    Examples:
        >>> quantize(np.array([[0.0, 0.0], [2.0, 1.0]])).tolist()
        [[0, 0], [65535, 32768]]
    """
    low = scores.min(0, initial=np.inf)
    span = float((scores - low).max(initial=0.0))
    if span == 0:
        return np.zeros(scores.shape, np.uint16)
    return np.rint((scores - low) / span * STEPS).astype(np.uint16)


def encode_array(values: np.ndarray) -> str:
    """Encode an array as base64 of its bytes, little-endian as the typed arrays of browsers.

    Examples:
        >>> encode_array(np.array([1, 256], np.uint16))
        'AQAAAQ=='
    """
    return base64.b64encode(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
                            .tobytes()).decode()  # fmt: skip
