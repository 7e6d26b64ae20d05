"""The noise transition matrix is recovered, and posteriors are distributions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastif.mislabels.noise_model import (
    compute_posterior,
    fit_joint_mle,
    fit_noise_model,
    fit_transition_em,
    make_initial_transition,
)


def test_em_recovers_the_transition_matrix():
    generator = torch.Generator().manual_seed(0)
    true_T = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.7, 0.3], [0.0, 0.0, 1.0]])
    truth = torch.randint(0, 3, (6000,), generator=generator)
    p = calibrated_posteriors(truth, generator)
    labels = torch.multinomial(true_T[truth], 1, generator=generator)[:, 0]
    assert (fit_transition_em(p, labels, make_initial_transition(3)) - true_T).abs().max() < 0.03


def test_transition_matrix_and_temperature_are_recovered_together():
    """Calibrated logits divided by two: both T and the factor are recovered."""
    generator = torch.Generator().manual_seed(0)
    true_T = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.7, 0.3], [0.1, 0.1, 0.8]])
    truth = torch.randint(0, 3, (9000,), generator=generator)
    calibrated = calibrated_posteriors(truth, generator)
    labels = torch.multinomial(true_T[truth], 1, generator=generator)[:, 0]
    model = fit_noise_model(calibrated.log() / 2, labels)
    p, transition = model.p, model.transition
    assert (transition - true_T).abs().max() < 0.05
    assert (p - calibrated).abs().mean() < 0.02


def calibrated_posteriors(truth, generator):
    """p(t | x) by Bayes' rule for the class observed with Gaussian noise."""
    logits = 2.5 * torch.nn.functional.one_hot(truth, 3) + torch.randn(
        len(truth), 3, generator=generator
    )
    return (2.5 * logits).softmax(1)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_the_posterior_is_a_distribution(classes, seed):
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(20, classes, generator=generator).softmax(1)
    labels = torch.randint(0, classes, (20,), generator=generator)
    posterior = compute_posterior(p, labels, make_initial_transition(classes))
    assert torch.allclose(posterior.sum(1), torch.ones(20))
    assert (posterior.gather(1, labels[:, None]) >= p.gather(1, labels[:, None])).all()


@pytest.mark.parametrize("seed", [74, 106, 132])
def test_uninformative_and_contrary_logits_are_fitted(seed):
    """With these seeds the line search once went where exp overflows."""
    generator = torch.Generator().manual_seed(seed)
    n, classes = [60, 200, 600, 2000][seed % 4], [2, 3][seed // 4 % 2]
    logits = torch.randn(n, classes, generator=generator) * [1e-3, 1e-1, 1, 5][seed // 8 % 4]
    labels = torch.randint(0, classes, (n,), generator=generator)
    if seed // 32 % 2:
        logits = -logits.abs()
    if seed // 64 % 2:
        some = torch.rand(n, generator=generator) < 0.3
        other = torch.randint(0, classes, (n,), generator=generator)
        labels = torch.where(some, other, logits.argmin(1))
    model = fit_noise_model(logits, labels)
    for p, transition in (fit_joint_mle(logits, labels), (model.p, model.transition)):
        torch.testing.assert_close(p.sum(1), torch.ones(n))
        torch.testing.assert_close(transition.sum(1), torch.ones(classes))
