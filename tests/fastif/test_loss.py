"""Losses, and the roots of their curvature in the outputs, against torch.func."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import hessian

from fastif import CrossEntropy, SquaredError


def _outputs(classes: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(classes)
    return scale * torch.randn(6, classes, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("classes", [2, 3, 5, 20])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_root_squares_to_the_hessian_of_cross_entropy(classes, smoothing):
    loss, outputs = CrossEntropy(smoothing), _outputs(classes, 2.0)
    roots = loss.root(outputs)
    assert roots.shape == (6, classes, classes - 1)
    for root, one in zip(roots, outputs, strict=True):
        for target in range(classes):
            expected = hessian(
                lambda z, t=target: F.cross_entropy(z, torch.tensor(t), label_smoothing=smoothing)
            )(one)
            torch.testing.assert_close(root @ root.T, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_the_root_squares_to_the_hessian_of_squared_error(classes):
    outputs = _outputs(classes)
    target = torch.zeros(classes, dtype=torch.float64)
    for root, one in zip(SquaredError().root(outputs), outputs, strict=True):
        expected = hessian(lambda z: ((z - target) ** 2).sum())(one)
        torch.testing.assert_close(root @ root.T, expected)


def test_cross_entropy_is_minus_the_log_probability_in_nats():
    outputs, targets = _outputs(3), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = -outputs.softmax(1).log()[torch.arange(6), targets]
    torch.testing.assert_close(CrossEntropy()(outputs, targets), expected)


def test_label_smoothing_mixes_in_the_mean_over_classes():
    outputs, targets = _outputs(3), torch.tensor([0, 1, 2, 0, 1, 2])
    logs = -outputs.softmax(1).log()
    expected = 0.9 * logs[torch.arange(6), targets] + 0.1 * logs.mean(1)
    torch.testing.assert_close(CrossEntropy(0.1)(outputs, targets), expected)


def test_squared_error_takes_targets_with_or_without_a_column():
    outputs = torch.tensor([[1.0], [3.0]])
    for targets in (torch.tensor([0.0, 1.0]), torch.tensor([[0.0], [1.0]])):
        assert SquaredError()(outputs, targets).tolist() == [1.0, 4.0]


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
def test_extreme_outputs_give_finite_roots_that_still_square_to_the_hessian(logits, dtype):
    outputs = torch.tensor([logits], dtype=dtype)
    root = CrossEntropy().root(outputs)[0]
    probability = torch.tensor(logits, dtype=torch.float64).softmax(0)
    expected = probability.diag() - probability.outer(probability)
    assert torch.isfinite(root).all()
    torch.testing.assert_close((root @ root.T).double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("gap", [20.0, 30.0, 60.0])
@pytest.mark.parametrize("sure", [0, 1, 2])
def test_a_sure_prediction_keeps_its_small_curvature(gap, sure):
    """1 - p would be rounded to nothing in single precision; the digits of the rest must stay."""
    outputs = torch.zeros(1, 3)
    outputs[0, sure] = gap
    root = CrossEntropy().root(outputs)[0].double()
    probability = outputs.double().softmax(1)[0]
    rest = probability.sum() - probability[sure]
    others = probability[[i for i in range(3) if i != sure]].sum()
    assert rest < 1e-8
    torch.testing.assert_close(
        (root @ root.T)[sure, sure], probability[sure] * others, rtol=1e-4, atol=0.0
    )
