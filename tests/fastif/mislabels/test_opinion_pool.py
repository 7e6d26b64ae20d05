"""Linear opinion pool: weights by pseudo-R², confident dissent, uninformative members."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn.functional import one_hot

from fastif.mislabels.linear_head import BIAS_PENALTY
from fastif.mislabels.opinion_pool import pool_opinions


def test_the_linear_opinion_pool_is_weighted_by_pseudo_r2():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 3
    members = [
        strength * one_hot(labels, 3) + torch.randn(600, 3, generator=generator)
        for strength in (2.0, 1.0)
    ]
    probabilities, shares = [], []
    for logits in members:
        # Temperature and biases by scipy: one number for all classes, and one a class.
        lead = np.zeros((600, 3, 4))
        lead[:, :, 0] = logits.numpy()
        lead[:, range(3), range(1, 4)] = 1.0

        def loss(x, lead=lead):
            z = lead @ x
            p = z - np.logaddexp.reduce(z, 1, keepdims=True)
            return -p[range(600), labels.numpy()].mean() + BIAS_PENALTY * (x[1:] ** 2).sum()

        best = minimize(loss, np.array([1.0, 0, 0, 0]), method="BFGS", options={"gtol": 1e-8}).x
        z = lead @ best
        log_p = z - np.logaddexp.reduce(z, 1, keepdims=True)
        probabilities.append(np.exp(log_p))
        shares.append(1 + log_p[range(600), labels.numpy()].mean() / np.log(3))
    weights = np.array(shares) / sum(shares)
    reference = np.tensordot(weights, np.stack(probabilities), 1)
    assert pool_opinions(members, labels).exp().numpy() == pytest.approx(reference, abs=1e-4)


def test_uninformative_classifiers_have_equal_weight():
    logits = torch.zeros(6, 2)
    labels = torch.arange(6) % 2
    assert torch.allclose(pool_opinions([logits, logits], labels).exp(), torch.full((6, 2), 0.5))


def test_a_confident_dissent_keeps_its_weight_in_the_pool():
    """Where one member dissents, the pool lowers the label more than a product of experts."""
    labels = torch.arange(400) % 2
    right = 6.0 * one_hot(labels, 2).float()
    follows = right.clone()
    other = right.clone()
    other[0] = other[0].flip(0)
    error_probability = 1 - pool_opinions([follows, other], labels).exp()[0, 0]
    assert float(error_probability) > 0.3
