"""Losses against torch's own, and square roots of their Hessian against torch.func."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import hinge_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.func import hessian

from fastif import BinaryCrossEntropy, CrossEntropy, InputError, SmoothHinge, SquaredError
from fastif.losses import Loss, balanced_weights

WEIGHTS = {2: (0.3, 1.7), 3: (1.0, 0.0, 2.5), 5: (0.5, 1.0, 1.5, 2.0, 4.0)}


def _outputs(classes: int, scale: float = 1.0, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(classes)
    return scale * torch.randn(count, classes, generator=generator, dtype=torch.float64)


def _labels(classes: int, count: int = 6) -> Tensor:
    return torch.arange(count) % classes


def _soft_labels(classes: int) -> Tensor:
    return _outputs(classes).flip(0).softmax(1)


def _binary_labels(classes: int) -> Tensor:
    return (_outputs(classes).flip(0) > 0).long()


# name: loss, outputs, targets, columns of the square root
ALL: dict[str, tuple[Loss, Tensor, Tensor, int]] = {
    **{
        f"cross-entropy-{c}-{smoothing}": (
            CrossEntropy(smoothing),
            _outputs(c, 2.0),
            _labels(c),
            c - 1,
        )
        for c in (2, 3, 5, 20)
        for smoothing in (0.0, 0.1)
    },
    **{
        f"weighted-{c}-{smoothing}": (
            CrossEntropy(smoothing, weights),
            _outputs(c, 2.0),
            _labels(c),
            c - 1,
        )
        for c, weights in WEIGHTS.items()
        for smoothing in (0.0, 0.3, 1.0)
    },
    "soft": (CrossEntropy(), _outputs(3), _soft_labels(3), 2),
    "soft-smoothed-weighted": (CrossEntropy(0.2, WEIGHTS[3]), _outputs(3), _soft_labels(3), 2),
    "soft-half": (CrossEntropy(), _outputs(3), 0.5 * _soft_labels(3), 2),
    "binary": (BinaryCrossEntropy(), _outputs(4, 2.0), _binary_labels(4), 4),
    "binary-weighted": (BinaryCrossEntropy((0.2, 3.0)), _outputs(2, 2.0), _binary_labels(2), 2),
    "binary-soft": (BinaryCrossEntropy((0.2, 3.0)), _outputs(2, 2.0), _soft_labels(2), 2),
    "binary-one": (BinaryCrossEntropy(), _outputs(1, 2.0), _labels(2), 1),
    **{f"squared-{c}": (SquaredError(), _outputs(c), _outputs(c).flip(0), c) for c in (1, 2, 4)},
    **{f"hinge-{t}": (SmoothHinge(t), _outputs(1), _labels(2), 1) for t in (0.1, 1.0)},
    **{f"hinges-{c}": (SmoothHinge(0.3), _outputs(c), _labels(c), c - 1) for c in (2, 3, 5)},
}


@pytest.fixture(params=ALL)
def loss_case(request):
    return ALL[request.param]


def test_sqrt_hessian_squares_to_the_hessian(loss_case):
    loss, outputs, targets, columns = loss_case
    factors = loss.sqrt_hessian(outputs, targets)
    assert factors.shape == (*outputs.shape, columns)
    for factor, row, target in zip(factors, outputs, targets, strict=True):
        expected = hessian(lambda z, t=target: loss(z[None], t[None])[0])(row)
        torch.testing.assert_close(factor @ factor.T, expected, rtol=1e-10, atol=1e-13)


def test_derivatives_equal_finite_differences(loss_case):
    loss, outputs, targets, _ = loss_case
    leaf = outputs.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), leaf)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, targets), leaf)


def test_single_precision_gives_the_same(loss_case):
    loss, outputs, targets, _ = loss_case
    actual = loss(outputs.float(), targets)  # targets stay as they are, in double precision
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), loss(outputs, targets), rtol=1e-5, atol=1e-6)
    assert loss.sqrt_hessian(outputs.float(), targets).dtype == torch.float32
    factor = loss.sqrt_hessian(outputs.float(), targets).double()
    torch.testing.assert_close(factor, loss.sqrt_hessian(outputs, targets), rtol=1e-4, atol=1e-6)


def test_losses_are_hashable_and_separate_by_example(loss_case):
    loss, outputs, targets, _ = loss_case
    assert hash(loss) == hash(loss)
    assert loss == type(loss)(*vars(loss).values())
    alone = torch.cat([loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(alone, loss(outputs, targets))


# Cross-entropy.


def test_cross_entropy_is_minus_the_log_probability_in_nats():
    outputs, targets = _outputs(3), _labels(3)
    expected = -outputs.softmax(1).log()[torch.arange(6), targets]
    torch.testing.assert_close(CrossEntropy()(outputs, targets), expected)


def test_label_smoothing_mixes_in_the_mean_over_classes():
    outputs, targets = _outputs(3), _labels(3)
    logs = -outputs.softmax(1).log()
    expected = 0.9 * logs[torch.arange(6), targets] + 0.1 * logs.mean(1)
    torch.testing.assert_close(CrossEntropy(0.1)(outputs, targets), expected)


def test_class_weights_follow_the_target():
    outputs, targets = _outputs(3), _labels(3)
    weights = torch.tensor(WEIGHTS[3], dtype=torch.float64)
    actual = CrossEntropy(class_weights=WEIGHTS[3])(outputs, targets)
    torch.testing.assert_close(actual, weights[targets] * CrossEntropy()(outputs, targets))
    assert (actual[targets == 1] == 0).all()
    assert (
        CrossEntropy(class_weights=WEIGHTS[3]).sqrt_hessian(outputs, targets)[targets == 1] == 0
    ).all()


def test_balanced_weights_equal_the_weighted_mean_of_torch():
    labels = torch.tensor([0, 0, 0, 1, 0, 1, 2, 0])
    outputs, weights = _outputs(3, count=8), balanced_weights(labels, 3)
    assert weights == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy()).tolist()
    )
    trained = F.cross_entropy(outputs, labels, torch.tensor(weights, dtype=torch.float64))
    actual = CrossEntropy(class_weights=weights)(outputs, labels).mean()
    torch.testing.assert_close(actual, trained)


def test_weights_may_be_a_list():
    assert CrossEntropy(0.1, [1.0, 2.0]) == CrossEntropy(0.1, (1.0, 2.0))
    assert hash(CrossEntropy(0.1, [1.0, 2.0])) == hash(CrossEntropy(0.1, (1.0, 2.0)))


# Several labels.


@pytest.mark.parametrize("weights", [None, (0.2, 3.0, 1.0)])
def test_binary_cross_entropy_equals_the_sum_of_torch(weights):
    outputs, targets = _outputs(3), _binary_labels(3)
    torch_loss = torch.nn.BCEWithLogitsLoss(
        reduction="none",
        pos_weight=None if weights is None else torch.tensor(weights, dtype=torch.float64),
    )(outputs, targets.double())
    torch.testing.assert_close(BinaryCrossEntropy(weights)(outputs, targets), torch_loss.sum(1))


def test_one_binary_label_equals_a_softmax_of_two():
    outputs, targets = _outputs(1), _labels(2)
    both = torch.cat([torch.zeros_like(outputs), outputs], 1)
    expected = CrossEntropy()(both, targets)
    torch.testing.assert_close(BinaryCrossEntropy()(outputs, targets), expected)
    torch.testing.assert_close(BinaryCrossEntropy()(outputs, targets[:, None]), expected)


# Regression.


def test_squared_error_takes_targets_with_or_without_a_column():
    outputs = torch.tensor([[1.0], [3.0]])
    for targets in (torch.tensor([0.0, 1.0]), torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1])):
        assert SquaredError()(outputs, targets).tolist() == [1.0, 4.0]


# The hinge.


def _blog_hinge(logits: Tensor, labels: Tensor, t: float) -> Tensor:
    """`smooth_hinge_loss` of "Influence functions from scratch", line by line, without the mean."""
    exponents = (1 - labels * logits) / t
    most = torch.maximum(exponents, torch.zeros_like(exponents))
    return t * (most + torch.log(torch.exp(exponents - most) + torch.exp(-most)))


@pytest.mark.parametrize("t", [1e-3, 0.1, 10.0])
def test_one_output_equals_the_published_smooth_hinge(t):
    outputs, labels = _outputs(1, 2.0), _labels(2)
    signs = 2 * labels - 1
    expected = _blog_hinge(outputs[:, 0], signs, t)
    for targets in (labels, signs, signs[:, None], labels.double()):
        torch.testing.assert_close(SmoothHinge(t)(outputs, targets), expected)
        expected_root = SmoothHinge(t).sqrt_hessian(outputs, labels)
        assert torch.equal(SmoothHinge(t).sqrt_hessian(outputs, targets), expected_root)


def test_two_outputs_equal_one_output_of_their_difference():
    outputs, labels = _outputs(2), _labels(2)
    difference = outputs[:, 1:] - outputs[:, :1]
    torch.testing.assert_close(
        SmoothHinge(0.2)(outputs, labels), SmoothHinge(0.2)(difference, labels)
    )


@pytest.mark.parametrize("classes", [1, 2, 3, 5])
@pytest.mark.parametrize("t", [1.0, 1e-2, 1e-6])
def test_the_smooth_hinge_converges_to_the_hinge(classes, t):
    """scikit-learn's multi-class hinge is Crammer and Singer's."""
    outputs, labels = _outputs(classes, 2.0), _labels(max(classes, 2))
    actual = SmoothHinge(t)(outputs, labels)
    if classes < 3:
        difference = outputs[:, 0] if classes == 1 else outputs[:, 1] - outputs[:, 0]
        hinge = (1 - (2 * labels - 1) * difference).clamp_min(0)
    else:
        rows = zip(labels.tolist(), outputs.numpy(), strict=True)
        each = [hinge_loss([y], row[None], labels=np.arange(classes)) for y, row in rows]
        hinge = torch.tensor(each, dtype=torch.float64)
    assert (actual >= hinge - 1e-12).all()
    assert (actual - hinge <= t * math.log(max(classes, 2)) + 1e-12).all()


# Invalid input.


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: CrossEntropy(-0.1), "from 0 to 1"),
        (lambda: CrossEntropy(1.1), "from 0 to 1"),
        (lambda: CrossEntropy(math.nan), "from 0 to 1"),
        (lambda: CrossEntropy(class_weights=(1.0, -1.0)), "0 or more"),
        (lambda: CrossEntropy(class_weights=(1.0, math.inf)), "finite"),
        (lambda: CrossEntropy(class_weights=(0.0, 0.0)), "not all 0"),
        (lambda: CrossEntropy(class_weights=()), "not all 0"),
        (lambda: CrossEntropy(class_weights=(1.0, 1.0))(_outputs(3), _labels(3)), "3 numbers"),
        (
            lambda: CrossEntropy(class_weights=(1.0, 1.0)).sqrt_hessian(_outputs(3), _labels(3)),
            "3 numbers",
        ),
        (lambda: BinaryCrossEntropy((1.0, 0.0)), "finite numbers > 0"),
        (lambda: BinaryCrossEntropy((1.0, 2.0))(_outputs(3), _binary_labels(3)), "3 numbers"),
        (lambda: BinaryCrossEntropy()(_outputs(3), _labels(2)), "3 numbers an example"),
        (lambda: BinaryCrossEntropy()(_outputs(2), 2 * _binary_labels(2) - 1), "0 for no"),
        (
            lambda: BinaryCrossEntropy().sqrt_hessian(_outputs(2), 2 * _binary_labels(2) - 1),
            "0 for no",
        ),
        (lambda: SquaredError()(_outputs(2), _outputs(1)), "2 numbers an example"),
        (lambda: SmoothHinge(0.0), "finite number > 0"),
        (lambda: SmoothHinge(math.nan), "finite number > 0"),
        (lambda: SmoothHinge()(_outputs(1), _outputs(2)), "1 numbers an example"),
        (lambda: balanced_weights(torch.tensor([0, 0, 2]), 3), "each of the 3 classes"),
        (lambda: balanced_weights(torch.tensor([0, 1, 2]), 2), "each of the 2 classes"),
    ],
)
def test_invalid_parameters_and_targets_are_refused(make, expected):
    with pytest.raises(InputError, match=expected):
        make()
