"""The expected gain of a review against dense derivatives and heads that are fitted again."""

from dataclasses import replace

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.func import hessian, jacrev
from torch.nn.functional import one_hot

from fastif.mislabels import NO_LABEL_FITS, NOT_REVIEWED, LabeledData
from fastif.mislabels.head_hessian import HeadHessian
from fastif.mislabels.linear_head import BIAS_PENALTY, LinearHead, fit_linear_head
from fastif.mislabels.review_gain import ValidationRows, approximate_posterior, compute_review_gain
from tests.fastif.mislabels.noisy_clouds import make_clouds

PENALTY = 1e-1
NEWTON_STEPS = 8


@pytest.fixture
def case():
    """Rows with wrong labels and two reviews, posteriors, and validation rows, in float64."""
    points, truth = make_clouds(24, 3, apart=1.0)
    labels = truth.clone()
    labels[:5] = (labels[:5] + 1) % 3
    known = torch.full_like(truth, NOT_REVIEWED)
    known[0], known[7] = truth[0], NO_LABEL_FITS
    rows = LabeledData(points.double(), labels, 3, known=known)
    generator = torch.Generator().manual_seed(1)
    posterior = torch.rand(len(truth), 3, generator=generator, dtype=torch.float64) ** 2
    posterior /= posterior.sum(1, keepdim=True)
    others, other_labels = make_clouds(30, 3, apart=1.0)
    others = others.double() + 0.3
    return rows, posterior, ValidationRows.from_labels(others, other_labels, 3)


def train_loss(W, x, targets, weights):
    logits = x @ W[:-1] + W[-1]
    fit = -(weights * (targets * logits.log_softmax(1)).sum(1)).sum() / weights.sum()
    return fit + PENALTY / 2 * W[:-1].square().sum() + BIAS_PENALTY / 2 * W[-1].square().sum()


def cross_entropy(logits, targets, weights):
    return -(weights * (targets * logits.log_softmax(1)).sum(1)).sum() / weights.sum()


def find_scale(W, x, targets, weights):
    """Scale of the logits with the least loss, by a bounded search."""
    logits = x @ W[:-1] + W[-1]

    def loss(log_scale):
        return float(cross_entropy(2.718281828459045**log_scale * logits, targets, weights))

    best = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10})
    return 2.718281828459045**best.x


def validation_loss(W, x, targets, weights, scale=None):
    scale = find_scale(W, x, targets, weights) if scale is None else scale
    return cross_entropy(scale * (x @ W[:-1] + W[-1]), targets, weights)


def newton(x, targets, weights):
    """Minimum of the training loss by dense Newton steps."""
    W = torch.zeros(x.shape[1] + 1, targets.shape[1], dtype=x.dtype)
    for _ in range(NEWTON_STEPS):
        gradient = jacrev(train_loss)(W, x, targets, weights).reshape(-1)
        H = hessian(train_loss)(W, x, targets, weights).reshape(W.numel(), W.numel())
        W = W - torch.linalg.solve(H, gradient).view_as(W)
    return W


def fit_exactly(features, targets, penalty, weights=None):
    assert penalty == PENALTY
    W = newton(features, targets, weights)
    return LinearHead(W[:-1], W[-1])


def train_targets(rows):
    return rows.clamp_to_known(one_hot(rows.labels, 3).double()), rows.weights.double()


def held_out(rows, posterior, validation):
    """Features, targets and weights of the validation loss."""
    if validation is not None:
        return validation.features, validation.targets, torch.ones(len(validation.targets))
    return rows.features, rows.clamp_to_known(posterior), rows.weights.double()


@pytest.mark.parametrize("by_queries", [True, False])
def test_the_gain_is_the_dense_first_order_change(case, by_queries):
    rows, posterior, validation = case
    validation = validation if by_queries else None
    targets, weights = train_targets(rows)
    W, x = newton(rows.features, targets, weights), rows.features
    H = hessian(train_loss)(W, x, targets, weights).reshape(W.numel(), W.numel())
    held = held_out(rows, posterior, validation)
    slope = jacrev(validation_loss)(W, *held, find_scale(W, *held)).reshape(-1)
    expected = []
    for i in range(len(x)):
        q = rows.clamp_to_known(posterior)[i]

        def gradient(target, i=i):
            row = (x[i : i + 1], target[None], torch.ones(1, dtype=x.dtype))
            return jacrev(validation_loss)(W, *row, 1.0).reshape(-1)

        change = sum(q[t] * gradient(torch.eye(3).double()[t]) for t in range(3))
        change = change - gradient(targets[i])
        expected.append(weights[i] / weights.sum() * slope @ torch.linalg.solve(H, change))
    gain = compute_review_gain(rows, posterior, PENALTY, validation, fit_exactly)
    # The solver stops at a relative residual of 1e-5.
    torch.testing.assert_close(gain, torch.stack(expected), rtol=2e-3, atol=1e-6)
    assert (gain[rows.known != NOT_REVIEWED] == 0).all()


def test_the_sign_and_size_are_those_of_heads_fitted_again(case):
    """A label that becomes right by a small weight changes the validation loss as predicted."""
    rows, _, validation = case
    targets, weights = train_targets(rows)
    before = validation_loss(
        newton(rows.features, targets, weights), *held_out(rows, None, validation)
    )
    step, actual, predicted = 1e-3, [], []
    for i in range(1, 5):
        right = one_hot((rows.labels[i] + 2) % 3, 3).double()
        posterior = targets.clone()
        posterior[i] = right
        gain = compute_review_gain(rows, posterior, PENALTY, validation, fit_exactly)
        assert (gain[torch.arange(len(gain)) != i] == 0).all()
        changed = targets.clone()
        changed[i] += step * (right - targets[i])
        after = validation_loss(
            newton(rows.features, changed, weights), *held_out(rows, None, validation)
        )
        actual.append((before - after) / step)
        predicted.append(gain[i])
    torch.testing.assert_close(torch.stack(predicted), torch.stack(actual), rtol=1e-2, atol=1e-6)


def test_a_whole_label_that_becomes_right_changes_the_loss_as_predicted():
    points, truth = make_clouds(600, 3, apart=1.5)
    labels = truth.clone()
    labels[:60] = (labels[:60] + 1) % 3
    rows, posterior = LabeledData(points.double(), labels, 3), one_hot(truth, 3).double()
    validation = ValidationRows.from_labels(points.double(), truth, 3)
    gain = compute_review_gain(rows, posterior, PENALTY, validation)
    ones = torch.ones(len(truth), dtype=torch.float64)
    held = (rows.features, posterior, ones)
    before = validation_loss(newton(rows.features, one_hot(labels, 3).double(), ones), *held)
    actual = []
    for i in range(12):
        changed = labels.clone()
        changed[i] = truth[i]
        W = newton(rows.features, one_hot(changed, 3).double(), ones)
        actual.append(before - validation_loss(W, *held))
    actual = torch.stack(actual)
    assert (gain[60:] == 0).all()
    assert torch.corrcoef(torch.stack([gain[:12], actual]))[0, 1] > 0.98
    # The rest is of second order: 0.2 / n at most, where the gains are up to 1.3 / n.
    assert ((gain[:12] - actual).abs() < 0.3 / len(truth)).all()


def test_a_correction_that_raises_the_loss_has_a_negative_gain(case):
    """A verdict is not optional, so positive and negative outcomes are averaged."""
    rows, posterior, validation = case
    rows = replace(rows, known=None)
    by_class = []
    for t in range(3):
        q = one_hot(torch.full_like(rows.labels, t), 3).double()
        by_class.append(compute_review_gain(rows, q, PENALTY, validation, fit_exactly))
    gain = compute_review_gain(rows, posterior, PENALTY, validation, fit_exactly)
    mean = (posterior * torch.stack(by_class, 1)).sum(1)
    torch.testing.assert_close(gain, mean, rtol=1e-6, atol=1e-12)
    assert (gain < 0).any()


def test_the_hessian_is_the_dense_one():
    points, truth = make_clouds(15, 3, apart=1.0)
    x, targets = points.double(), one_hot(truth, 3).double()
    weights = torch.linspace(0, 1, len(x), dtype=torch.float64)
    W = newton(x, targets, weights)
    dense = hessian(train_loss)(W, x, targets, weights).reshape(W.numel(), W.numel())
    probabilities = (x @ W[:-1] + W[-1]).softmax(1)
    operator = HeadHessian(x, probabilities, weights / weights.sum(), PENALTY, BIAS_PENALTY)
    torch.testing.assert_close(operator.to_dense(), dense)


def test_the_head_is_fitted_once_and_in_single_precision_the_gain_is_the_same(case):
    rows, posterior, validation = case
    exact = compute_review_gain(rows, posterior, PENALTY, validation)
    calls = []

    def fit(*arguments):
        calls.append(arguments)
        return fit_linear_head(*arguments)

    single = replace(rows, features=rows.features.float())
    held = ValidationRows(validation.features.float(), validation.targets.float())
    gain = compute_review_gain(single, posterior.float(), PENALTY, held, fit)
    assert len(calls) == 1
    torch.testing.assert_close(gain.double(), exact, rtol=1e-2, atol=1e-5)


def test_a_posterior_of_two_classes_is_read_exactly():
    """The suggested label is the other class at any confidence."""
    labels, error = torch.tensor([0, 1, 1]), torch.tensor([0.2, 0.9, 0.0])
    confidence = torch.tensor([1.0, 0.999, 0.5])
    posterior = approximate_posterior(labels, error, 1 - labels, confidence, 2)
    expected = torch.tensor([[0.8, 0.2], [0.9, 0.1], [0.0, 1.0]])
    torch.testing.assert_close(posterior, expected)
