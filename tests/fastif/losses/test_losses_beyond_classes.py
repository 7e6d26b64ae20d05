"""Derivatives of focal, Huber, ordinal and weighted losses against dense Hessians."""

import math

import pytest
import torch
from cases_beyond_classes import (
    ALL,
    CONVEX,
    FOCAL,
    ROWS,
    compute_hessians,
)

from fastif import BinaryCrossEntropy, CrossEntropy
from fastif.losses import (
    FocalLoss,
)


@pytest.mark.parametrize("name", CONVEX)
def test_sqrt_hessian_squares_to_the_hessian_of_a_convex_loss(name):
    loss, outputs, targets = CONVEX[name]
    factors = loss.sqrt_hessian(outputs, targets)
    for factor, expected in zip(factors, compute_hessians(loss, outputs, targets), strict=True):
        torch.testing.assert_close(factor @ factor.T, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", FOCAL)
def test_the_factor_of_a_focal_loss_is_the_root_of_the_positive_part(name):
    """In the coordinates in which the Hessian of the cross-entropy is the identity."""
    loss, outputs, targets = FOCAL[name]
    plain = CrossEntropy() if isinstance(loss, FocalLoss) else BinaryCrossEntropy()
    factors, metric = loss.sqrt_hessian(outputs, targets), plain.sqrt_hessian(outputs, targets)
    for factor, root, full in zip(
        factors, metric, compute_hessians(loss, outputs, targets), strict=True
    ):
        inverse = torch.linalg.pinv(root)
        values, vectors = torch.linalg.eigh(inverse @ full @ inverse.T)
        positive = vectors * values.clamp_min(0) @ vectors.T
        expected = root @ positive @ root.T
        torch.testing.assert_close(factor @ factor.T, expected, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(("gamma", "limit"), [(1.0, 0.042), (2.0, 0.058), (5.0, 0.051)])
def test_a_focal_loss_is_not_convex_where_the_target_is_improbable(gamma, limit):
    for probability, sign in ((limit - 2e-3, -1), (limit + 2e-3, 1)):
        outputs = torch.tensor([[0.0, math.log(probability / (1 - probability))]]).double()
        (full,) = compute_hessians(FocalLoss(gamma), outputs, torch.tensor([1]))
        assert math.copysign(1, float(full[1, 1])) == sign
        (factor,) = FocalLoss(gamma).sqrt_hessian(outputs, torch.tensor([1]))
        assert bool((factor == 0).all()) == (sign < 0)


@pytest.mark.parametrize("name", ALL)
def test_derivatives_equal_finite_differences(name):
    loss, outputs, targets = ALL[name]
    leaf = outputs.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), leaf)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, targets), leaf)


@pytest.mark.parametrize("name", ALL)
def test_single_precision_and_single_rows_give_the_same(name):
    loss, outputs, targets = ALL[name]
    expected = loss(outputs, targets)
    assert loss(outputs.float(), targets).dtype == torch.float32
    torch.testing.assert_close(
        loss(outputs.float(), targets).double(), expected, rtol=1e-4, atol=1e-5
    )
    factor = loss.sqrt_hessian(outputs.float(), targets).double()
    torch.testing.assert_close(factor, loss.sqrt_hessian(outputs, targets), rtol=2e-3, atol=1e-4)
    alone = [loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(ROWS)]
    torch.testing.assert_close(torch.cat(alone), expected)
    assert loss == type(loss)(*vars(loss).values())
    assert hash(loss) == hash(loss)
    assert loss.find_invalid_targets(targets, outputs.shape[1]) is None
