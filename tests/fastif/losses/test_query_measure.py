"""Measures of queries against their definitions and finite differences in double precision."""

import pytest
import torch

from fastif import InputError
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
