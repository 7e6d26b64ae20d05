"""Objectives with losses, measures and heads, against dense matrices."""

import pytest
import reference
import torch
from cases import case, token_examples, transformer
from torch import Tensor

from fastif import (
    Attributor,
    BinaryCrossEntropy,
    CrossEntropy,
    Dual,
    GaussNewton,
    Gradients,
    ModuleObjective,
    SquaredError,
    TextExamples,
    TransformerObjective,
    all_ids,
    predict,
)
from fastif.gradients.per_example import compute_loss_gradients, compute_measure_gradients
from fastif.losses import Measure
from fastif.models.prefix_cache import PrefixCache


def test_smoothing_and_weights_do_not_change_the_query_measure():
    made = case("as-trained")
    objective = ModuleObjective(
        made.objective.module, made.objective.loss, measure=CrossEntropy(), penalty=0.1
    )
    plain = reference.Problem(**{**vars(made.problem), "loss": reference.cross_entropy})
    gradients, ids = Gradients(objective), all_ids(made.train)
    trained, query_gradients = reference.gradients(made.problem), reference.gradients(plain)
    assert not torch.allclose(trained, query_gradients, rtol=0.1)
    torch.testing.assert_close(
        compute_loss_gradients(gradients, made.train.with_batch_size(4), ids), trained
    )
    torch.testing.assert_close(
        compute_measure_gradients(gradients, made.train.with_batch_size(4), ids), query_gradients
    )
    operator = GaussNewton(objective, made.train).with_damping(0.3)
    answer = Attributor(objective, made.train, operator, Dual(), leverage="off")(made.train, ids)
    matrix = reference.gauss_newton(made.problem)
    expected = reference.removal_effects(query_gradients, trained, matrix, 0.4)
    influences = answer.influences
    torch.testing.assert_close(influences.removal_effect, expected.gather(1, influences.ids))
    row = reference.flatten_params(plain)
    torch.testing.assert_close(
        predict(objective, made.train)[1], reference.losses(plain, row).detach()
    )


@pytest.mark.parametrize("name", ["as-trained", "outside"])
@pytest.mark.parametrize("one_by_one", [True, False])
def test_a_measure_may_be_any_function_of_the_outputs(name, one_by_one):
    class Margin(Measure):
        def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
            right = outputs.gather(1, targets[:, None])[:, 0]
            return right - outputs.scatter(1, targets[:, None], -torch.inf).logsumexp(1)

    def margin(outputs: Tensor, target: Tensor) -> Tensor:
        others = [outputs[c] for c in range(len(outputs)) if c != int(target)]
        return outputs[int(target)] - torch.stack(others).logsumexp(0)

    made = case(name)
    objective = ModuleObjective(made.objective.module, made.objective.loss, measure=Margin())
    gradients = Gradients(objective)
    if made.uses_hooks:
        gradients.per_example_backward = one_by_one
    problem = reference.Problem(**{**vars(made.problem), "loss": margin})
    actual = compute_measure_gradients(gradients, made.train.with_batch_size(4))
    torch.testing.assert_close(actual, reference.gradients(problem))


TEXT_HEADS = {
    "multi-label": (BinaryCrossEntropy(), reference.binary_cross_entropy, lambda z: (z > 0).long()),
    "regression": (SquaredError(), reference.squared_error, lambda z: z),
}


@pytest.mark.parametrize("name", TEXT_HEADS)
def test_text_models_with_other_heads_equal_the_dense_inverse(name):
    ours, torch_loss, sample_labels = TEXT_HEADS[name]
    tokens = token_examples(7)
    generator = torch.Generator().manual_seed(5)
    labels = sample_labels(torch.randn(7, 3, generator=generator, dtype=torch.float64))
    texts = TextExamples(tokens.tokens, None, labels, tokens.truncated, 0)
    model = transformer("bert", hidden_size=4, intermediate_size=2, num_hidden_layers=2)
    objective = TransformerObjective(model, "last:1", ours, penalty=0.05)
    train = PrefixCache(objective, texts, 10**6).with_batch_size(3)
    problem = reference.Problem(
        model,
        objective.space.names,
        [{"input_ids": row[None]} for row in texts.tokens],
        list(labels.split(1)),
        torch_loss,
    )
    rows = reference.gradients(problem)
    expected = reference.removal_effects(rows, rows, reference.gauss_newton(problem), 0.15)
    operator = GaussNewton(objective, train).with_damping(0.1)
    influences = Attributor(objective, train, operator, Dual(), leverage="off")(
        train, all_ids(train)
    ).influences
    torch.testing.assert_close(influences.removal_effect, expected.gather(1, influences.ids))
