"""Gradients of stated losses at trained weights, against dense gradients and real training."""

import math

import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn

from fastif import (
    BinaryCrossEntropy,
    CrossEntropy,
    InputError,
    ModuleObjective,
    SquaredError,
    TensorExamples,
)
from fastif.evaluation.loss_statements import LossStatement, list_alternatives
from fastif.evaluation.stationarity import RATIO, compare_statements
from fastif.losses import (
    FocalLoss,
    Huber,
    Loss,
    SampleWeighted,
    balanced_weights,
    weight_targets,
)

PENALTY = 1e-3


def read_digits() -> tuple[Tensor, Tensor]:
    """Digits 1, 7 and 8 with fewer of the later ones, some with a wrong label."""
    data = load_digits()
    points, labels = torch.tensor(data["data"]) / 16, torch.tensor(data["target"])
    ids = [(labels == digit).nonzero()[:count, 0] for digit, count in ((1, 170), (7, 80), (8, 50))]
    order = torch.cat(ids)
    classes = torch.repeat_interleave(torch.arange(3), torch.tensor([len(part) for part in ids]))
    wrong = torch.rand(len(order), generator=torch.Generator().manual_seed(0)) < 0.15
    return points[order], torch.where(wrong, (classes + 1) % 3, classes)


def train(points: Tensor, targets: Tensor, loss: Loss, outputs: int, penalty: float) -> nn.Linear:
    """Minimise to convergence in double precision."""
    torch.manual_seed(0)
    model = nn.Linear(points.shape[1], outputs).double()
    optimiser = torch.optim.LBFGS(
        model.parameters(),
        max_iter=250,
        history_size=30,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-10,
        tolerance_change=1e-14,
    )

    def closure():
        optimiser.zero_grad()
        decay = torch.stack([p.square().sum() for p in model.parameters()]).sum()
        value = loss(model(points), targets).mean() + penalty / 2 * decay
        value.backward()
        return value

    optimiser.step(closure)
    return model


def compare(model, points, targets, loss, penalty=PENALTY, **settings):
    stated = LossStatement("as stated", loss, penalty)
    others = list_alternatives(stated, targets, model.out_features)
    examples = TensorExamples(points, targets, batch_size=64)
    objective = ModuleObjective(model, loss)
    return compare_statements(objective, examples, [stated, *others], **settings)


def losses_of_classes(labels: Tensor) -> dict[str, Loss]:
    return {
        "plain": CrossEntropy(),
        "label smoothing of 0.1": CrossEntropy(0.1),
        "balanced class weights": CrossEntropy(0.0, balanced_weights(labels, 3)),
        "a focal loss with gamma 2": FocalLoss(2.0),
    }


@pytest.mark.parametrize("name", losses_of_classes(torch.arange(3)))
def test_the_loss_of_a_minimum_is_named(name):
    points, labels = read_digits()
    losses = losses_of_classes(labels)
    model = train(points, labels, losses[name], 3, PENALTY)
    right, *others = compare(model, points, labels, losses[name])
    assert right.relative < 1e-6
    assert not any(other.is_smaller for other in others)
    if name == "plain":
        return
    wrong, *others = compare(model, points, labels, losses["plain"])
    assert wrong.relative > 0.01
    assert [other.statement.name for other in others if other.is_smaller] == [name]
    assert next(other for other in others if other.is_smaller).ratio > RATIO


def test_relative_gradients_equal_dense_ones():
    points, labels = read_digits()
    torch.manual_seed(0)
    model = nn.Linear(points.shape[1], 3).double()
    loss, penalty = CrossEntropy(0.1), 0.05
    (actual, *_) = compare(model, points, labels, loss, penalty)
    rows = []
    for i in range(len(points)):
        value = loss(model(points[i : i + 1]), labels[i : i + 1]).sum()
        grads = torch.autograd.grad(value, tuple(model.parameters()))
        rows.append(torch.cat([grad.flatten() for grad in grads]))
    gradients = torch.stack(rows)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    mean = gradients.mean(0) + penalty * weights
    expected = float(mean.norm()) / math.sqrt(float(gradients.square().sum(1).mean()))
    assert actual.relative == pytest.approx(expected, rel=0.1)  # of the scale by blocks


def test_a_sample_of_rows_has_no_bias_by_its_noise():
    """At a minimum the mean gradient of a sample is noise, which is subtracted."""
    points, labels = read_digits()
    model = train(points, labels, CrossEntropy(), 3, PENALTY)
    squared, smaller = [], 0
    for seed in range(8):
        first, *others = compare(model, points, labels, CrossEntropy(), rows=96, seed=seed)
        squared.append(first.relative**2)
        smaller += sum(other.is_smaller for other in others)
    assert smaller == 0
    noise = 1 / 96 * (1 - 96 / 300)
    assert sum(squared) / 8 < noise / 2
    wrong = CrossEntropy(0.0, (1.0, 6.0, 12.0))
    first, *others = compare(model, points, labels, wrong, rows=224)
    assert {other.statement.name for other in others if other.is_smaller} == {"equal class weights"}


def test_training_that_stopped_early_gives_no_alarm():
    points, labels = read_digits()
    for name, loss in losses_of_classes(labels).items():
        for epochs in (2, 12):
            torch.manual_seed(1)
            model = nn.Linear(points.shape[1], 3).double()
            optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
            for _ in range(epochs):
                for ids in torch.randperm(len(points)).split(16):
                    optimiser.zero_grad()
                    loss(model(points[ids]), labels[ids]).mean().backward()
                    optimiser.step()
            results = compare(model, points, labels, loss, 0.0)
            assert not any(result.is_smaller for result in results), (name, epochs)


def test_targets_beyond_classes_are_compared():
    points, labels = read_digits()
    bits = torch.stack([labels == 0, labels == 2], 1).long()
    weighted = BinaryCrossEntropy((1.0, 5.0), "mean")
    positives = bits.double().mean(0)
    weighted = BinaryCrossEntropy(((1 - positives) / positives).tolist(), "mean")
    model = train(points, bits, weighted, 2, PENALTY)
    _, *others = compare(model, points, bits, BinaryCrossEntropy(None, "mean"))
    named = [other.statement.name for other in others if other.is_smaller]
    assert named == ["positive labels weighted by negatives / positives"]
    model = train(points, bits, BinaryCrossEntropy(), 2, PENALTY)
    _, *others = compare(model, points, bits, BinaryCrossEntropy(None, "mean"))
    assert [o.statement.name for o in others if o.is_smaller] == ["the sum over the outputs"]
    data = load_diabetes()
    table, numbers = torch.tensor(data["data"]) * 20, torch.tensor(data["target"]) / 50
    model = train(table, numbers, Huber(1.0), 1, PENALTY)
    _, *others = compare(model, table, numbers, SquaredError())
    assert [o.statement.name for o in others if o.is_smaller] == ["a Huber loss with delta 1"]


def test_weights_of_rows_that_training_ignored_are_told():
    points, labels = read_digits()
    model = train(points, labels, CrossEntropy(), 3, PENALTY)
    weights = torch.rand(len(labels), generator=torch.Generator().manual_seed(2)).double() * 2
    weights[labels == 1] *= 3
    targets = weight_targets(labels, weights)
    _, *others = compare(model, points, targets, SampleWeighted(CrossEntropy()))
    assert [o.statement.name for o in others if o.is_smaller] == ["equal weights of all rows"]
    model = train(points, targets, SampleWeighted(CrossEntropy()), 3, PENALTY)
    first, *others = compare(model, points, targets, SampleWeighted(CrossEntropy()))
    assert first.relative < 1e-6
    assert not any(other.is_smaller for other in others)


def test_few_rows_are_refused():
    model = nn.Linear(2, 3)
    with pytest.raises(InputError, match="64 rows or more"):
        compare(model, torch.randn(63, 2), torch.arange(63) % 3, CrossEntropy())
