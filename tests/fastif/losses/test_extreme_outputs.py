"""Losses at extreme outputs: finite values, and no small curvature rounded to zero."""

import math

import pytest
import torch
from torch.func import hessian

from fastif import BinaryCrossEntropy, CrossEntropy, SmoothHinge


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "logits",
    [
        [1e4, -1e4, 0.0],
        [-1e4, 1e4, 1e4],
        [0.0, 0.0, 1e4],
        [-200.0, 0.0, 200.0],
        [88.0, -88.0, 0.0],
    ],
)
def test_extreme_outputs_give_finite_square_roots_of_the_hessian(logits, dtype):
    outputs = torch.tensor([logits], dtype=dtype)
    factor = CrossEntropy().sqrt_hessian(outputs, torch.tensor([0]))[0]
    probability = torch.tensor(logits, dtype=torch.float64).softmax(0)
    expected = probability.diag() - probability.outer(probability)
    assert torch.isfinite(factor).all()
    torch.testing.assert_close((factor @ factor.T).double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("gap", [20.0, 30.0, 60.0])
@pytest.mark.parametrize("sure", [0, 1, 2])
def test_a_confident_prediction_keeps_its_small_curvature(gap, sure):
    """1 - p would round to zero in single precision; its digits must be kept."""
    outputs = torch.zeros(1, 3)
    outputs[0, sure] = gap
    factor = CrossEntropy().sqrt_hessian(outputs, torch.tensor([0]))[0].double()
    probability = outputs.double().softmax(1)[0]
    rest = probability.sum() - probability[sure]
    others = probability[[i for i in range(3) if i != sure]].sum()
    assert rest < 1e-8
    torch.testing.assert_close(
        (factor @ factor.T)[sure, sure], probability[sure] * others, rtol=1e-4, atol=0.0
    )


@pytest.mark.parametrize("extreme", [30.0, 80.0, 1e4])
def test_a_confident_multi_label_output_keeps_its_small_curvature(extreme):
    outputs = torch.tensor([[extreme, -extreme]])
    factor = BinaryCrossEntropy().sqrt_hessian(outputs, torch.tensor([[1, 0]]))[0]
    expected = math.exp(-extreme)
    assert factor.square().diagonal().tolist() == pytest.approx([expected] * 2, rel=1e-5)
    assert torch.isfinite(BinaryCrossEntropy()(outputs, torch.tensor([[0, 1]]))).all()


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_smooth_hinge_is_finite_far_from_the_margin(classes, dtype):
    outputs = torch.tensor([[1e3], [-1e3], [1.0]], dtype=dtype).expand(3, classes).clone()
    outputs[:, 0] *= 2
    labels = torch.ones(3, dtype=torch.long)
    loss = SmoothHinge()
    assert torch.isfinite(loss(outputs, labels)).all()
    assert torch.isfinite(loss.sqrt_hessian(outputs, labels)).all()
    for row, target in zip(outputs, labels, strict=True):
        second = hessian(lambda z, t=target: loss(z[None], t[None])[0])(row)
        factor = loss.sqrt_hessian(row[None], target[None])[0]
        torch.testing.assert_close(factor @ factor.T, second, rtol=1e-4, atol=1e-4)
