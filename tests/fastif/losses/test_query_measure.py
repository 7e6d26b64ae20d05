"""Measures of queries against their definitions and finite differences in double precision."""

import pytest
import torch

from fastif import (
    Attributor,
    CrossEntropy,
    Direct,
    GaussNewton,
    InputError,
    ModuleObjective,
    TensorExamples,
)
from fastif.losses import Entropy, NegativeMargin
from fastif.losses.query_measure import QUERY_MEASURES


def draw_outputs(rows, classes):
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(3)).double()


@pytest.mark.parametrize("classes", [2, 5])
def test_values_are_those_of_the_definitions(classes):
    outputs = draw_outputs(7, classes)
    predicted = outputs.argmax(1)
    probability = outputs.exp() / outputs.exp().sum(1, keepdim=True)
    best = outputs.sort(1, descending=True).values
    expected = {
        "loss": -probability.max(1).values.log(),
        "log-probability": probability.max(1).values.log(),
        "margin": best[:, 0] - best[:, 1],
        "entropy": -(probability * probability.log()).sum(1),
    }
    for name, measure in QUERY_MEASURES.items():
        value = measure.factor * measure.function(outputs, predicted)
        torch.testing.assert_close(value, expected[name], msg=name)


@pytest.mark.parametrize("name", QUERY_MEASURES)
def test_gradients_are_those_of_finite_differences(name):
    outputs, measure = draw_outputs(4, 3), QUERY_MEASURES[name].function
    targets = torch.tensor([0, 1, 2, 0])
    assert torch.autograd.gradcheck(lambda z: measure(z, targets), outputs.requires_grad_())


def test_a_measure_becomes_worse_as_the_function_rises():
    """A worse prediction: the logit of the predicted label is lower."""
    outputs, predicted = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    worse = outputs - torch.tensor([[0.5, 0.0, 0.0]])
    for measure in QUERY_MEASURES.values():
        assert measure.function(worse, predicted) > measure.function(outputs, predicted)


def test_the_margin_is_negative_for_another_label_than_the_predicted_one():
    outputs = torch.tensor([[1.0, 3.0, 3.0]])
    assert NegativeMargin()(outputs, torch.tensor([0])).tolist() == [2.0]
    assert NegativeMargin()(outputs, torch.tensor([1])).tolist() == [0.0]


def test_extreme_outputs_have_an_entropy_and_a_gradient():
    outputs = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(Entropy()(outputs, torch.tensor([0])).sum(), outputs)
    assert gradient.tolist() == [[0.0, 0.0, 0.0]]


def test_targets_that_are_no_classes_are_refused():
    with pytest.raises(InputError, match="class numbers"):
        NegativeMargin()(torch.zeros(1, 2), torch.tensor([-1]))
    for measure in (NegativeMargin(), Entropy()):
        invalid = measure.find_invalid_targets(torch.tensor([0, 2]), 2)
        assert invalid is not None
        assert invalid[1].tolist() == [False, True]


@pytest.mark.parametrize("name", QUERY_MEASURES)
def test_a_measure_takes_effect_on_the_curvature_of_another_objective(name):
    """The curvature has the objective of training, without a measure; dense truth."""
    generator = torch.Generator().manual_seed(5)
    module = torch.nn.Linear(4, 3).double()
    rows = torch.randn(9, 4, generator=generator).double()
    labels = torch.randint(0, 3, (9,), generator=generator)
    train = TensorExamples(rows, labels)
    plain = ModuleObjective(module, CrossEntropy())
    operator = GaussNewton(plain, train).with_damping(0.1)
    measured = ModuleObjective(module, CrossEntropy(), measure=QUERY_MEASURES[name].function)
    attributor = Attributor(measured, train, operator, Direct(), leverage="off")
    influences = attributor(train, torch.arange(2)).influences
    actual = torch.zeros(2, 9).double().scatter_(1, influences.ids, influences.removal_effect)

    weights = torch.cat([tensor.detach().flatten() for tensor in module.parameters()])

    def outputs(flat, row):
        return flat[:12].view(3, 4) @ row + flat[12:]

    def loss(flat, i):
        return -outputs(flat, rows[i]).log_softmax(0)[labels[i]]

    def explained(flat, i):
        return QUERY_MEASURES[name].function(outputs(flat, rows[i])[None], labels[i : i + 1])[0]

    hessian = torch.stack([torch.func.hessian(loss)(weights, i) for i in range(9)]).mean(0)
    matrix = hessian + 0.1 * torch.eye(15).double()  # of a linear model the Gauss-Newton matrix
    gradients = torch.stack([torch.func.grad(loss)(weights, i) for i in range(9)])
    queries = torch.stack([torch.func.grad(explained)(weights, i) for i in range(2)])
    torch.testing.assert_close(actual, queries @ torch.linalg.solve(matrix, gradients.T) / 9)
