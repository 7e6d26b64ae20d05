"""Noise that follows the classifier is recognised where it is there, and nowhere else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from fastif.mislabels.confusable_noise import (
    EXPONENTS,
    ConfusableFit,
    NoiseModel,
    average_noise_models,
    fit_confusable_noise,
    score_confusable_noise,
)
from fastif.mislabels.noise_model import compute_posterior, fit_noise_model
from fastif.mislabels.sparse_transition import sample_rows, select_sparse_transition

CLASSES, ROWS = 4, 1500


def make_logits(seed=0, classes=CLASSES, rows=ROWS):
    """Calibrated logits of Gaussian clusters, and true classes."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, (rows,), generator=generator)
    points = 2.5 * torch.nn.functional.one_hot(truth, classes)
    points = points + 1.2 * torch.randn(rows, classes, generator=generator)
    return points * 2.5 / 1.2**2, truth, generator


def confuse(logits, truth, generator, error):
    """Replace labels of random rows by samples of p(y | x) among the other classes."""
    others = logits.softmax(1).scatter(1, truth[:, None], 0.0)
    sampled = torch.multinomial(others, 1, generator=generator)[:, 0]
    is_wrong = torch.rand(len(truth), generator=generator) < error
    return torch.where(is_wrong, sampled, truth)


def flip_uniformly(truth, generator, error, classes=CLASSES):
    offset = torch.randint(1, classes, (len(truth),), generator=generator)
    is_wrong = torch.rand(len(truth), generator=generator) < error
    return torch.where(is_wrong, (truth + offset) % classes, truth)


def compute_dense_rates(p, shares, exponent, error):
    """T_i[t, y] of every row by its definition, in float64, [n, c, c]."""
    kernel = (p * shares) ** exponent
    rates = np.zeros((*p.shape, p.shape[1]))
    for i, k in enumerate(kernel):
        for t in range(len(k)):
            rates[i, t] = error * k / np.delete(k, t).sum()
            rates[i, t, t] = 1 - error
    return rates


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 7), st.integers(0, 1000), st.sampled_from(EXPONENTS), st.floats(0.01, 0.9))
def test_posterior_and_transition_are_those_of_the_definition(classes, seed, exponent, error):
    """Also where one class is certain: the sum over the others must not cancel."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(15, classes, generator=generator) * 20
    labels = torch.randint(0, classes, (15,), generator=generator)
    log_shares = torch.randn(classes, generator=generator).log_softmax(0)
    fit = ConfusableFit(
        exponent,
        torch.zeros(1),
        torch.zeros(classes),
        torch.tensor([error]).logit(),
        log_shares,
        0.0,
    )
    model = fit.predict(logits.log_softmax(1), labels)
    p = logits.double().softmax(1).numpy()
    rates = compute_dense_rates(p, log_shares.double().exp().numpy(), exponent, error)
    np.testing.assert_allclose(rates.sum(2), 1, rtol=1e-9)
    joint = p * rates[np.arange(15), :, labels.numpy()]
    np.testing.assert_allclose(
        model.posterior.numpy(), joint / joint.sum(1, keepdims=True), rtol=2e-3, atol=1e-5
    )
    mean = np.einsum("nt,nty->ty", p, rates) / p.sum(0)[:, None]
    np.testing.assert_allclose(model.transition.numpy(), mean, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_the_likelihood_is_that_of_the_definition(exponent):
    logits, truth, generator = make_logits(rows=300)
    labels = confuse(logits, truth, generator, 0.2)
    rows = sample_rows(logits, labels, None, None)
    fit = fit_confusable_noise(rows, exponent)
    p = fit.predict(rows.log_probs, labels).p.double().numpy()
    error = float(fit.log_odds.sigmoid())
    rates = compute_dense_rates(p, fit.log_shares.double().exp().numpy(), exponent, error)
    likelihoods = (p * rates[np.arange(300), :, labels.numpy()]).sum(1)
    assert fit.log_likelihood == pytest.approx(np.log(likelihoods).sum(), rel=1e-4)


def test_the_error_rate_of_confusable_noise_is_recovered():
    logits, truth, generator = make_logits()
    labels = confuse(logits, truth, generator, 0.2)
    fit = fit_confusable_noise(sample_rows(logits, labels, None, None), 1.0)
    assert float(fit.log_odds.sigmoid()) == pytest.approx(0.2, abs=0.05)
    assert float(fit.scale.exp()) == pytest.approx(1.0, abs=0.2)


def test_reviewed_rows_are_right():
    """Reviews of a tenth of the rows, all right, of labels that look confused."""
    logits, truth, generator = make_logits()
    labels = confuse(logits, truth, generator, 0.2)
    known = torch.nn.functional.one_hot(labels, CLASSES).float()
    fit = fit_confusable_noise(sample_rows(logits, labels, known, None), 1.0)
    assert float(fit.log_odds.sigmoid()) < 0.01


def measure_evidence(logits, labels):
    """Evidence of confusable noise beyond that of a transition matrix, nats."""
    return compute_evidence(logits, labels, select_sparse_transition(logits, labels).misfit)


def compute_evidence(logits, labels, misfit):
    rows = sample_rows(logits, labels, None, None)
    best = max(
        score_confusable_noise(fit_confusable_noise(rows, exponent), rows.count, misfit)
        for exponent in EXPONENTS
    )
    return best - select_sparse_transition(logits, labels).log_evidence


def test_confusable_noise_has_the_evidence_where_it_is():
    logits, truth, generator = make_logits()
    assert measure_evidence(logits, confuse(logits, truth, generator, 0.2)) > 5


@pytest.mark.long
@pytest.mark.parametrize("kind", ["uniform", "one class", "none"])
def test_confusable_noise_has_no_evidence_where_it_is_not(kind):
    logits, truth, generator = make_logits()
    labels = truth
    if kind == "uniform":
        labels = flip_uniformly(truth, generator, 0.1)
    elif kind == "one class":
        is_flipped = (truth == 0) & (torch.rand(ROWS, generator=generator) < 0.4)
        labels = torch.where(is_flipped, 1, truth)
    assert measure_evidence(logits, labels) < (0 if kind == "none" else -10)


@pytest.mark.long
def test_confused_labels_rank_higher_than_by_a_transition_matrix():
    logits, truth, generator = make_logits(seed=1)
    labels = confuse(logits, truth, generator, 0.2)
    model = fit_noise_model(logits, labels)
    by_matrix = compute_posterior(
        model.p, labels, select_sparse_transition(logits, labels).averaged
    )
    precision, without = (
        average_precision_score(labels != truth, 1 - q.gather(1, labels[:, None])[:, 0])
        for q in (model.posterior, by_matrix)
    )
    assert precision > without + 0.01


def test_under_uniform_noise_the_posterior_is_that_of_the_transition_matrix():
    logits, truth, generator = make_logits()
    labels = flip_uniformly(truth, generator, 0.1)
    model = fit_noise_model(logits, labels)
    expected = compute_posterior(model.p, labels, model.transition)
    torch.testing.assert_close(model.posterior, expected, rtol=1e-6, atol=1e-6)


def test_of_two_classes_the_noise_depends_on_the_class_alone():
    logits, truth, generator = make_logits(classes=2)
    labels = flip_uniformly(truth, generator, 0.1, classes=2)
    model = fit_noise_model(logits, labels)
    expected = compute_posterior(model.p, labels, model.transition)
    torch.testing.assert_close(model.posterior, expected)


def test_the_error_rate_is_at_least_that_of_the_anchor_points():
    logits, truth, _ = make_logits()
    rows = sample_rows(logits, truth, None, None)
    fit = fit_confusable_noise(rows, 1.0)
    low, raised = (fit.predict(rows.log_probs, truth, least) for least in (0.0, 0.3))
    assert float(1 - raised.transition.diagonal().mean()) == pytest.approx(0.3, abs=1e-4)
    errors = [1 - m.posterior.gather(1, truth[:, None])[:, 0] for m in (low, raised)]
    assert bool((errors[1] >= errors[0] - 1e-6).all())


def make_constant(value):
    return lambda: NoiseModel(*(torch.full((2, 2), value) for _ in range(3)))


def test_models_are_averaged_by_their_evidence():
    models = [make_constant(0.0), make_constant(1.0)]
    averaged = average_noise_models(models, [-1000.0, -1000.0 + float(np.log(3))])
    for column in (averaged.p, averaged.transition, averaged.posterior):
        torch.testing.assert_close(column, torch.full((2, 2), 0.75))


@pytest.mark.parametrize("evidence", [float("nan"), float("inf"), -float("inf"), -20.0])
def test_a_diverged_or_unlikely_model_has_no_part(evidence):
    models = [make_constant(0.5), make_constant(float("nan"))]
    averaged = average_noise_models(models, [0.0, evidence])
    torch.testing.assert_close(averaged.posterior, torch.full((2, 2), 0.5))


@pytest.mark.long
def test_a_classifier_that_confuses_in_its_own_way_is_no_noise():
    """Logits of five stars that keep neighbouring stars too far apart: all labels are right."""
    generator = torch.Generator().manual_seed(0)
    stars = torch.randint(5, (3000, 1), generator=generator)
    places = stars + 0.7 * torch.randn(3000, 1, generator=generator)
    logits = -0.5 * (places - torch.arange(5.0)).square()
    logits += 0.3 * torch.randn(3000, 5, generator=generator)
    neighbours = torch.diag(torch.ones(4), 1) + torch.diag(torch.ones(4), -1)
    p = (logits @ (torch.eye(5) + 0.4 * neighbours)).softmax(1)
    labels = torch.multinomial(p, 1, generator=generator)[:, 0]
    assert compute_evidence(logits, labels, 1.0) > 0
    assert measure_evidence(logits, labels) < -5
