"""Values and refusals of focal, Huber and ordinal losses against torch and closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from cases_beyond_classes import (
    NAN,
    ROWS,
    make_bits,
    make_bits_with_missing,
    make_classes,
    make_falling_outputs,
    make_outputs,
)

from fastif import BinaryCrossEntropy, CrossEntropy, InputError, SquaredError
from fastif.losses import (
    BinaryFocalLoss,
    FocalLoss,
    Huber,
    OrdinalCrossEntropy,
    SampleWeighted,
)


@pytest.mark.parametrize("delta", [0.3, 1.0, 5.0])
def test_huber_equals_torch(delta):
    outputs, targets = make_outputs(3), make_outputs(3).flip(0)
    expected = F.huber_loss(outputs, targets, reduction="none", delta=delta)
    torch.testing.assert_close(Huber(delta)(outputs, targets), expected.sum(1))
    torch.testing.assert_close(Huber(delta, "mean")(outputs, targets).mean(), expected.mean())
    smooth = F.smooth_l1_loss(outputs, targets, reduction="none", beta=delta).sum(1)
    torch.testing.assert_close(Huber(delta)(outputs, targets) / delta, smooth)


def test_value_and_gradient_of_huber_are_continuous_at_the_corner():
    delta, step = 0.7, 1e-9
    outputs = torch.tensor([[delta - step], [delta], [delta + step]], dtype=torch.float64)
    leaf = outputs.clone().requires_grad_()
    values = Huber(delta)(leaf, torch.zeros(3))
    (gradient,) = torch.autograd.grad(values.sum(), leaf)
    assert values.tolist() == pytest.approx([delta**2 / 2] * 3, abs=2 * step)
    assert gradient[:, 0].tolist() == pytest.approx([delta] * 3, abs=2 * step)
    assert Huber(delta).sqrt_hessian(outputs, torch.zeros(3)).flatten().tolist() == [1, 1, 0]


def test_reductions_equal_those_of_torch():
    outputs, bits = make_outputs(3), make_bits(3)
    trained = F.binary_cross_entropy_with_logits(outputs, bits.double())
    torch.testing.assert_close(BinaryCrossEntropy(None, "mean")(outputs, bits).mean(), trained)
    numbers = make_outputs(3).flip(0)
    trained = F.mse_loss(outputs, numbers)
    torch.testing.assert_close(SquaredError("mean")(outputs, numbers).mean(), trained)


def test_missing_labels_have_neither_loss_nor_curvature():
    outputs, targets = make_outputs(2), make_bits_with_missing(2)
    with pytest.raises(InputError, match="skip_missing"):
        BinaryCrossEntropy()(outputs, targets)
    loss = BinaryCrossEntropy(skip_missing=True)
    given = F.binary_cross_entropy_with_logits(outputs, targets.nan_to_num(0), reduction="none")
    torch.testing.assert_close(loss(outputs, targets), given.masked_fill(targets.isnan(), 0).sum(1))
    assert loss(outputs, targets)[3] == 0
    invalid = BinaryCrossEntropy().find_invalid_targets(targets, 2)
    assert invalid is not None
    assert invalid[1].nonzero()[:, 0].tolist() == [1, 3]
    infinite = targets.nan_to_num(math.inf)
    assert loss.find_invalid_targets(infinite, 2) is not None


def test_focal_losses_follow_their_formula():
    outputs, targets = make_outputs(3), make_classes(3)
    chosen = outputs.softmax(1)[torch.arange(ROWS), targets]
    weights = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    expected = -weights[targets] * (1 - chosen) ** 1.5 * chosen.log()
    torch.testing.assert_close(FocalLoss(1.5, weights.tolist())(outputs, targets), expected)
    torch.testing.assert_close(FocalLoss(0.0)(outputs, targets), CrossEntropy()(outputs, targets))
    bits = make_bits(3)
    probability = outputs.sigmoid()
    given = torch.where(bits == 1, probability, 1 - probability)
    alpha = torch.where(bits == 1, 0.25, 0.75)
    expected = -(alpha * (1 - given) ** 2 * given.log()).sum(1)
    torch.testing.assert_close(BinaryFocalLoss(2.0, 0.25)(outputs, bits), expected)
    plain = BinaryCrossEntropy()(outputs, bits)
    torch.testing.assert_close(BinaryFocalLoss(0.0)(outputs, bits), plain)


def test_one_binary_focal_output_equals_a_softmax_of_two():
    outputs, targets = make_outputs(1, 3.0), make_classes(2)
    both = torch.cat([torch.zeros_like(outputs), outputs], 1)
    expected = FocalLoss(2.0)(both, targets)
    torch.testing.assert_close(BinaryFocalLoss(2.0)(outputs, targets), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_losses_are_finite_at_extreme_outputs(dtype, gamma):
    outputs = torch.tensor([[1e4, -1e4], [88.0, -88.0], [0.0, 40.0]], dtype=dtype)
    for target in (0, 1):
        for loss, targets in (
            (FocalLoss(gamma), torch.full((3,), target)),
            (BinaryFocalLoss(gamma), torch.full((3, 2), target)),
        ):
            leaf = outputs.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(leaf, targets).sum(), leaf, create_graph=True)
            (second,) = torch.autograd.grad(gradient.sum(), leaf)
            factor = loss.sqrt_hessian(outputs, targets)
            assert all(bool(torch.isfinite(x).all()) for x in (gradient, second, factor))


def test_ordinal_losses_follow_their_formula():
    outputs, targets = make_falling_outputs(3), make_classes(4)
    levels = (targets[:, None] > torch.arange(3)).double()
    terms = F.binary_cross_entropy_with_logits(outputs, levels, reduction="none")
    torch.testing.assert_close(OrdinalCrossEntropy("coral")(outputs, targets), terms.sum(1))
    conditional = terms * (torch.arange(3) <= targets[:, None])
    torch.testing.assert_close(OrdinalCrossEntropy("corn")(outputs, targets), conditional.sum(1))
    bounds = F.pad(F.pad(outputs.sigmoid(), (1, 0), value=1.0), (0, 1), value=0.0)
    chosen = (bounds[:, :-1] - bounds[:, 1:])[torch.arange(ROWS), targets]
    actual = OrdinalCrossEntropy("cumulative")(outputs, targets)
    torch.testing.assert_close(actual, -chosen.log(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["corn", "cumulative"])
def test_ordinal_losses_are_of_probabilities_that_sum_to_one(kind):
    outputs = make_falling_outputs(4)
    rows = [OrdinalCrossEntropy(kind)(outputs, torch.full((ROWS,), y)) for y in range(5)]
    total = torch.stack(rows).neg().exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("kind", ["coral", "corn", "cumulative"])
def test_ordinal_losses_refuse_other_classes_and_outputs(kind):
    loss = OrdinalCrossEntropy(kind, 4)
    for targets in (torch.tensor([4]), torch.tensor([-1]), torch.tensor([1.0])):
        with pytest.raises(InputError, match="class numbers"):
            loss(torch.tensor([[2.0, 1.0, 0.0]]), targets)
        assert loss.find_invalid_targets(targets, 3) is not None
    four = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    with pytest.raises(InputError, match="3 outputs, one for each threshold of 4 classes"):
        loss(four, torch.tensor([1]))
    assert loss.find_invalid_targets(torch.tensor([1]), 4) is not None


@pytest.mark.parametrize("outputs", [[[0.0, 1.0]], [[1.0, 1.0]], [[NAN, 1.0]]])
def test_cumulative_logits_must_descend(outputs):
    with pytest.raises(InputError, match="descending order"):
        OrdinalCrossEntropy("cumulative")(torch.tensor(outputs), torch.tensor([1]))


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: Huber(0.0), "delta"),
        (lambda: Huber(math.inf), "delta"),
        (lambda: Huber(1.0, "none"), "reduction"),
        (lambda: SquaredError("average"), "reduction"),
        (lambda: BinaryCrossEntropy(reduction="x"), "reduction"),
        (lambda: FocalLoss(-1.0), "gamma"),
        (lambda: FocalLoss(math.nan), "gamma"),
        (lambda: FocalLoss(2.0, [0.0, 0.0]), "class_weights"),
        (lambda: BinaryFocalLoss(alpha=1.0), "alpha"),
        (lambda: OrdinalCrossEntropy("probit"), "kind"),
        (lambda: OrdinalCrossEntropy("coral", 1), "classes"),
        (lambda: SampleWeighted(SampleWeighted(CrossEntropy())), "loss"),
        (lambda: FocalLoss()(torch.zeros(1, 1), torch.tensor([0])), "model"),
        (lambda: BinaryFocalLoss()(torch.zeros(1, 1), torch.tensor([0.5])), "targets"),
    ],
)
def test_invalid_settings_are_refused(make, where):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.where == where
