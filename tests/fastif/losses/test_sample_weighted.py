"""Losses with a weight for each example."""

import math

import pytest
import torch
from cases_beyond_classes import (
    ALL,
    CONVEX,
    NAN,
    WEIGHTS,
)

from fastif import CrossEntropy, InputError, SmoothHinge, SquaredError
from fastif.losses import (
    BinaryFocalLoss,
    FocalLoss,
    Huber,
    OrdinalCrossEntropy,
    SampleWeighted,
    weight_targets,
)

WEIGHTED = [name for name in CONVEX if name.startswith("weighted-")]


@pytest.mark.parametrize("name", [*WEIGHTED, "focal-3-2.0"])
def test_a_weight_multiplies_loss_and_curvature(name):
    loss, outputs, targets = ALL[name]
    if isinstance(loss, SampleWeighted):
        inner = loss.loss
        plain = (
            targets[:, 1].long()
            if inner.class_targets and targets.shape[1] == 2
            else targets[:, 1:]
        )
    else:
        inner, plain = loss, targets
        loss, targets = SampleWeighted(inner), weight_targets(plain, WEIGHTS)
    torch.testing.assert_close(loss(outputs, targets), WEIGHTS * inner(outputs, plain))
    factor = inner.sqrt_hessian(outputs, plain)
    expected = WEIGHTS[:, None, None] * (factor @ factor.mT)
    actual = loss.sqrt_hessian(outputs, targets)
    torch.testing.assert_close(actual @ actual.mT, expected)
    assert (actual[1] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_class_numbers_survive_the_weights_exactly(dtype):
    numbers = torch.tensor([0, 1, 2**24 - 1])
    rows = weight_targets(numbers, torch.tensor([0.1, 1.0, 2.0], dtype=dtype))
    assert rows[:, 1].long().tolist() == numbers.tolist()
    if dtype == torch.float32:
        with pytest.raises(InputError, match="hold exactly"):
            weight_targets(torch.tensor([2**24 + 1]), torch.tensor([1.0]))


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([[-0.1, 1.0]], "weight of 0 or more"),
        ([[NAN, 1.0]], "weight of 0 or more"),
        ([[math.inf, 1.0]], "weight of 0 or more"),
        ([[1.0, 0.5]], "whole number"),
        ([[1.0, NAN]], "whole number"),
        ([[1.0, 2.0]], "class numbers from 0 to 1"),
        ([[1.0, 0.2, -0.2]], "probabilities"),
        ([[1.0]], "a weight and then the target"),
        ([1.0], "a weight and then the target"),
        ([1], "a weight and then the target"),
        ([[1, 1]], "a weight and then the target"),
    ],
)
def test_weighted_targets_are_checked(targets, expected):
    loss, targets = SampleWeighted(CrossEntropy()), torch.tensor(targets)
    invalid = loss.find_invalid_targets(targets, 2)
    assert invalid is not None
    assert expected in invalid[0]
    for function in (loss, loss.sqrt_hessian):
        with pytest.raises(InputError):
            function(torch.zeros(1, 2), targets)


@pytest.mark.parametrize(
    "loss",
    [
        SquaredError(),
        Huber(),
        FocalLoss(),
        BinaryFocalLoss(),
        OrdinalCrossEntropy(),
        SmoothHinge(),
    ],
)
def test_weighted_targets_are_refused_by_losses_without_weights(loss):
    outputs = 1 if isinstance(loss, (SquaredError, Huber, BinaryFocalLoss)) else 3
    rows = torch.tensor([[0.5, 1.0]])
    with pytest.raises(InputError):
        loss(torch.zeros(1, outputs), rows)
    assert loss.find_invalid_targets(rows, outputs) is not None
