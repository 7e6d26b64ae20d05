"""Outlying targets of a regression: injected errors, noise that is none, units, and refusals."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score

from fastif import InputError
from fastif.mislabels import NumberData, OutlierDetector
from fastif.mislabels.outlying_targets import SELF_INFLUENCE_PENALTY
from fastif.mislabels.robust_ridge import RobustRidge, compute_spread

ROWS, WRONG = 300, 20
DETECTOR = OutlierDetector(repeats=1)


def make_rows(seed=0, noise=lambda draw, x: 0.5 * draw.normal(size=len(x))):
    """Linear targets with noise; those of the first rows are shifted by four deviations."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(ROWS, 4))
    right = 2 * x[:, 0] - x[:, 1] + noise(draw, x)
    given = right.copy()
    given[:WRONG] += 4 * right.std() * draw.choice([-1, 1], WRONG)
    return torch.tensor(x).float(), torch.tensor(given), right


def measure(scores):
    return average_precision_score(np.arange(len(scores)) < WRONG, scores)


def test_injected_errors_come_first_and_the_right_values_are_suggested():
    x, given, right = make_rows()
    result = DETECTOR(NumberData(x, given))
    assert measure(result.score) > 0.98
    assert np.abs(result.predicted[:WRONG].numpy() - right[:WRONG]).mean() < 0.6
    inside = (result.low.numpy() <= right) & (right <= result.high.numpy())
    assert 0.85 < inside.mean() < 0.97  # the interval is of 90 %
    assert result.informed
    assert 0.5 * WRONG < result.score.sum() < 1.6 * WRONG


def test_noisy_rows_are_not_taken_for_errors():
    """Noise that grows with a feature: residuals rank the noisy rows first, the score does not."""
    x, given, _ = make_rows(noise=lambda draw, x: np.exp(1.2 * x[:, 2]) * draw.normal(size=len(x)))
    result = DETECTOR(NumberData(x, given))
    residuals = (given - result.predicted).abs()
    assert measure(result.score) > measure(residuals) + 0.03


@pytest.mark.parametrize("scale", [1e9, 1e-9])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_units_and_origin_do_not_matter(scale, shift):
    x, given, _ = make_rows()
    plain = DETECTOR(NumberData(x, given))
    moved = DETECTOR(NumberData(x, given * scale + shift * scale))
    assert torch.allclose(moved.score, plain.score, atol=1e-5)
    assert torch.allclose(moved.strength, plain.strength, rtol=1e-4)
    assert torch.allclose((moved.predicted / scale) - shift, plain.predicted, atol=1e-4)


def test_one_far_target_changes_no_other_suggestion():
    x, given, _ = make_rows()
    far = given.clone()
    far[50] = 1e12
    plain, moved = DETECTOR(NumberData(x, given)), DETECTOR(NumberData(x, far))
    others = torch.arange(ROWS) != 50
    assert moved.score[50] > 0.99
    assert (moved.predicted - plain.predicted).abs()[others].max() < 0.3 * compute_spread(given)
    assert measure(moved.score[others]) > 0.98


def test_reviewed_targets_are_evidence():
    """The right targets of half of a cluster of equal errors move the suggestion of the rest."""
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.normal(size=(100, 2)), draw.normal(size=(40, 2)) + 8])
    y = np.concatenate([np.zeros(100), np.full(40, 5.0)]) + 0.1 * draw.normal(size=140)
    features, given = torch.tensor(x).float(), torch.tensor(y)
    known = torch.full_like(given, torch.nan)
    known[100:130] = 0.0
    before = DETECTOR(NumberData(features, given))
    after = DETECTOR(NumberData(features, given, known=known))
    assert before.score[130:].max() < 0.5 < after.score[130:].min()
    assert after.predicted[130:].abs().max() < 2
    assert torch.equal(after.score[100:130], torch.ones(30).double())


def test_self_influence_equals_retraining():
    x, given, _ = make_rows()
    x, given = x[:40].double(), given[:40]
    penalty = SELF_INFLUENCE_PENALTY * len(given)
    fast = RobustRidge.from_features(x, torch.zeros(1, 40).long()).compute_self_influence(
        given, SELF_INFLUENCE_PENALTY
    )
    for row in (0, 3, 25):
        losses = []
        for kept in (np.arange(40), np.delete(np.arange(40), row)):
            head = Ridge(alpha=penalty).fit(x[kept], given[kept])
            losses.append(float(given[row] - head.predict(x[row : row + 1])[0]) ** 2 / 2)
        assert float(fast[row]) == pytest.approx(losses[1] - losses[0], rel=1e-4)


def test_features_without_information_are_told():
    draw = np.random.default_rng(1)
    x, y = torch.tensor(draw.normal(size=(200, 3))).float(), torch.tensor(draw.normal(size=200))
    assert not DETECTOR(NumberData(x, y)).informed


@pytest.mark.parametrize("kind", ["counts", "zeros", "two values", "cauchy", "duplicates"])
def test_unusual_targets_have_finite_results(kind):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(120, 3))
    y = {
        "counts": draw.poisson(np.exp(x[:, 0])).astype(float),
        "zeros": np.where(draw.random(120) < 0.9, 0.0, x[:, 0]),
        "two values": (x[:, 0] > 0).astype(float),
        "cauchy": draw.standard_cauchy(120),
        "duplicates": np.repeat(x[:30, 0], 4),
    }[kind]
    x = np.repeat(x[:30], 4, 0) if kind == "duplicates" else x
    result = DETECTOR(NumberData(torch.tensor(x).float(), torch.tensor(y)))
    for name in ("score", "strength", "predicted", "low", "high", "self_influence"):
        assert getattr(result, name).isfinite().all(), name
    assert ((result.score >= 0) & (result.score <= 1)).all()
    assert (result.low <= result.high).all()


def test_two_rows_have_a_result():
    result = DETECTOR(NumberData(torch.tensor([[0.0], [1.0]]), torch.tensor([1.0, 2.0]).double()))
    assert result.score.isfinite().all()


@pytest.mark.parametrize(
    ("targets", "groups", "message"),
    [
        ([3.0] * 6, None, "two or more distinct targets"),
        ([1.0, 2.0, float("nan"), 1.0, 1.0, 1.0], None, "row 2"),
        ([1.0, 2.0, float("inf"), 1.0, 1.0, 1.0], None, "finite targets"),
        ([1.0, 2.0, 3.0, 1.0, 1.0, 1.0], [0] * 6, "two or more distinct rows"),
    ],
)
def test_unusable_targets_are_refused(targets, groups, message):
    x = torch.arange(6.0)[:, None]
    groups = None if groups is None else torch.tensor(groups)
    with pytest.raises(InputError, match=message):
        DETECTOR(NumberData(x, torch.tensor(targets).double(), groups))
