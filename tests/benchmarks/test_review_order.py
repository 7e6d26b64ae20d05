"""Numbers of the page on the order of the review."""

import pytest

from benchmarks.mislabels.review_order_page import (
    GIVEN,
    REACHED,
    count_verdicts,
    estimate,
    mean_verdicts,
)


def make_sample(*accuracy, target=0.8):
    by_count = {str(100 * (i + 1)): value for i, value in enumerate(accuracy)}
    return {
        "baselines": {GIVEN: 0.5, REACHED: target},
        "orders": {"gain": {"accuracy": by_count}},
    }


def test_the_verdicts_needed_are_interpolated_at_the_first_crossing():
    assert count_verdicts(make_sample(0.7, 0.9, 0.6), "gain") == pytest.approx(150)
    assert count_verdicts(make_sample(0.9), "gain") == pytest.approx(75)
    assert count_verdicts(make_sample(0.8, 0.7), "gain") == pytest.approx(100)
    assert count_verdicts(make_sample(0.7, 0.75), "gain") is None


def test_the_mean_needs_every_sample():
    reached, missed = make_sample(0.7, 0.9), make_sample(0.7, 0.75)
    assert mean_verdicts({"seeds": [reached, reached]}, "gain") == pytest.approx(150)
    assert mean_verdicts({"seeds": [reached, missed]}, "gain") is None


def test_the_error_is_that_of_the_mean():
    assert estimate([1.0, 3.0]) == (2.0, pytest.approx(1.0))
