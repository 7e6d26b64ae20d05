"""Half-precision weights: gradients equal those of the weights in float64."""

import copy

import pytest
import reference
import torch
from cases import text_problem, token_examples, transformer
from torch import nn

from fastif import (
    CrossEntropy,
    Gradients,
    ModuleObjective,
    TensorExamples,
    TransformerObjective,
    all_ids,
)
from fastif.gradients.per_example import compute_loss_gradients


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attributed", ["last:1", "all"])
def test_gradients_of_half_precision_weights_equal_those_in_double(dtype, attributed):
    model, examples = transformer("bert", dtype), token_examples(7)
    objective = TransformerObjective(model, attributed)
    actual = compute_loss_gradients(Gradients(objective), examples.with_batch_size(3))
    exact = copy.deepcopy(model).double()
    expected = reference.gradients(text_problem(exact, objective.space.names, examples))
    largest = float(expected.abs().max())
    assert float((actual.double() - expected).abs().max()) < 1e-5 * largest
    assert next(model.parameters()).dtype == dtype


def test_half_precision_can_be_requested():
    model, examples = transformer("bert", torch.bfloat16), token_examples(3)
    objective = TransformerObjective(model, "last:1", half=True)
    assert objective.like.dtype == torch.bfloat16
    assert objective.outputs(objective.params, examples.take(all_ids(examples))).isfinite().all()


def test_losses_and_factors_of_half_precision_outputs_are_computed_in_single_precision():
    """Gradients in the outputs are rounded once, to their own type: 8 bits of bfloat16."""
    torch.manual_seed(0)
    module = nn.Linear(1, 5).to(torch.bfloat16)
    module.bias.data = torch.tensor([6.0, 0.3, -2.0, 1.1, -4.7]).to(torch.bfloat16)
    count = 40
    inputs, labels = torch.ones(count, 1, dtype=torch.bfloat16), torch.arange(count) % 5
    module.weight.data.zero_()
    objective = ModuleObjective(module, CrossEntropy(), ["bias"])
    examples = TensorExamples(inputs, labels)
    batch = examples.take(all_ids(examples))
    outputs = module.bias.detach().double().expand(count, 5)
    actual = Gradients(objective).compute_loss_tile(batch).gradients.double()
    expected = outputs.softmax(1) - nn.functional.one_hot(labels, 5)
    torch.testing.assert_close(actual, expected, rtol=2**-8, atol=0.0)
    roots = torch.stack(
        [tile.gradients.clone() for tile in Gradients(objective).compute_sqrt_hessian_tiles(batch)],
        -1,
    )
    exact = CrossEntropy().sqrt_hessian(outputs, labels)
    torch.testing.assert_close(roots.double(), exact, rtol=2**-8, atol=0.0)
