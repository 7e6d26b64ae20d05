"""Principal components against a full SVD, and coordinates in the page within their error."""

import base64

import numpy as np
import pytest

from tasks.report.projection import STEPS, encode_array, project_principal, quantize


def make_features(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * np.linspace(3, 1, d) + rng.standard_normal(d)


@pytest.mark.parametrize(("n", "d"), [(200, 30), (12, 50), (3, 2), (5, 3), (40, 1)])
def test_scores_are_those_of_a_full_singular_value_decomposition(n, d):
    features = make_features(n, d)
    scores, share = project_principal(features)
    centred = features - features.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    k = min(2, d)
    expected = left[:, :k] * sizes[:k]
    assert np.abs(scores[:, :k]) == pytest.approx(np.abs(expected), abs=1e-8)
    for component in range(k):
        product = scores[:, component] @ expected[:, component]
        assert abs(product) == pytest.approx(sizes[component] ** 2)
    assert share == pytest.approx((sizes[:k] ** 2).sum() / (sizes**2).sum())
    if d == 1:
        assert not scores[:, 1].any()


def test_order_and_offset_of_the_rows_change_no_score():
    features = make_features(60, 8)
    scores, _ = project_principal(features)
    order = np.random.default_rng(1).permutation(60)
    assert project_principal(features[order])[0] == pytest.approx(scores[order], abs=1e-8)
    assert project_principal(features + 5)[0] == pytest.approx(scores, abs=1e-8)


@pytest.mark.parametrize(
    "features",
    [
        np.full((7, 5), 0.1, np.float32),
        np.full((7, 5), 1234.567, np.float32),
        np.zeros((7, 5)),
        np.ones((1, 5)),
        np.ones((4, 0)),
    ],
    ids=["equal", "equal and far from 0", "zero", "one row", "no features"],
)
def test_rows_without_variance_lie_in_one_point(features):
    scores, share = project_principal(features)
    assert not scores.any()
    assert share == 0
    assert not quantize(scores).any()


def test_values_that_are_not_finite_count_as_zero():
    features = make_features(20, 6)
    features[3, 2], features[4, 1] = np.nan, np.inf
    zeroed = features.copy()
    zeroed[3, 2] = zeroed[4, 1] = 0
    assert project_principal(features)[0] == pytest.approx(project_principal(zeroed)[0])


def test_coordinates_are_rounded_within_half_a_step():
    scores, _ = project_principal(make_features(500, 10))
    span = np.ptp(scores, axis=0).max()
    decoded = quantize(scores) / STEPS * span + scores.min(0)
    assert np.abs(decoded - scores).max() <= span / STEPS / 2 * (1 + 1e-9)
    assert quantize(scores).max() == STEPS
    assert quantize(scores[:0]).shape == (0, 2)


def test_bytes_are_little_endian():
    values = np.array([1, 515], ">u2")
    assert base64.b64decode(encode_array(values)) == bytes([1, 0, 3, 2])
