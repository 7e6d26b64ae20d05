"""Weights of 16 bits: gradients are those of the same weights in float64."""

import copy

import pytest
import reference
import torch
from cases import text_problem, token_examples, transformer

from fastif import Gradients, TransformerObjective, every, gradient_rows


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attributed", ["last:1", "all"])
def test_gradients_of_half_precision_weights_are_those_of_the_weights_in_double(dtype, attributed):
    model, examples = transformer("bert", dtype), token_examples(7)
    objective = TransformerObjective(model, attributed)
    found = gradient_rows(Gradients(objective), examples, every(examples), 3)
    exact = copy.deepcopy(model).double()
    expected = reference.gradients(text_problem(exact, objective.space.names, examples))
    largest = float(expected.abs().max())
    assert float((found.double() - expected).abs().max()) < 1e-5 * largest
    assert next(model.parameters()).dtype == dtype


def test_half_precision_may_be_asked_for_and_is_then_what_is_computed_with():
    model, examples = transformer("bert", torch.bfloat16), token_examples(3)
    objective = TransformerObjective(model, "last:1", half=True)
    assert objective.like.dtype == torch.bfloat16
    assert objective.outputs(objective.params, examples.take(every(examples))).isfinite().all()
