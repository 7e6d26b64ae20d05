"""Gradients by hooks or by separate backward passes: exact for all kinds of layers and batches."""

import pytest
import torch
from torch import nn

from fastif import (
    CrossEntropy,
    Ekfac,
    GaussNewton,
    Gradients,
    InputError,
    ModuleObjective,
    TensorExamples,
    all_ids,
)
from fastif.attribution.low_rank_scorer import make_low_rank_scorer
from fastif.attribution.scorers import GradientScorer
from fastif.candidates import GradientSketcher
from fastif.gradients.per_example import compute_loss_gradients
from tests.fastif.gradients.layer_kinds import KINDS, N, build_model, make_rows, truth
from tests.fastif.gradients.word_models import Sometimes


@pytest.mark.default_cases
@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_exact_for_every_kind_of_layer_and_batch(kind, batch_size):
    words, labels = make_rows(padded=7)
    gradients = Gradients(ModuleObjective(build_model(kind), CrossEntropy()))
    examples = TensorExamples(words, labels)
    actual = compute_loss_gradients(gradients, examples.with_batch_size(batch_size))
    expected = truth(build_model(kind), words, labels)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    if batch_size == 16 and KINDS[kind][1] is not None:
        assert gradients.per_example_backward is not KINDS[kind][1], gradients.route.reason
        assert bool(gradients.route.reason) is not KINDS[kind][1]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_single_precision_are_exact_to_single_precision(kind):
    words, labels = make_rows(padded=7)
    module = build_model(kind, torch.float32)
    gradients = Gradients(ModuleObjective(module, CrossEntropy()))
    examples = TensorExamples(words, labels)
    actual = compute_loss_gradients(gradients, examples.with_batch_size(8))
    expected = truth(module, words, labels)
    assert float((actual.double() - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("kind", ["sorted", "experts", "masked keyword", "positions", "linear"])
def test_factor_rows_are_exact_too(kind):
    words, labels = make_rows(padded=7)
    objective = ModuleObjective(build_model(kind), CrossEntropy())
    module = build_model(kind)
    expected = 0.0
    for i in range(N):
        outputs = module(words[i : i + 1])[0]
        J = torch.stack(
            [
                torch.cat(
                    [
                        g.flatten()
                        for g in torch.autograd.grad(
                            z, list(module.parameters()), retain_graph=True, materialize_grads=True
                        )
                    ]
                )
                for z in outputs
            ]
        )
        chance = outputs.detach().softmax(0)
        expected = expected + J.T @ (chance.diag() - chance.outer(chance)) @ J / N
    examples = TensorExamples(words, labels)
    for size in (1, 5, 16):
        actual = GaussNewton(objective, examples.with_batch_size(size)).to_dense()
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_outputs_that_depend_on_the_padding_of_others_are_refused():
    words, labels = make_rows(padded=2)
    gradients = Gradients(ModuleObjective(Sometimes(nn.Linear(3, 3)), CrossEntropy()))
    with pytest.raises(InputError, match="do not depend on the other rows"):
        gradients.compute_loss_tile({"inputs": words, "labels": labels})


@pytest.mark.parametrize("kind", ["sorted", "experts", "linear"])
def test_users_of_captured_calls_are_checked_too(kind):
    """Sketches and low-rank scores, set up with rows that detect nothing."""
    words, labels = make_rows(padded=7)
    objective = ModuleObjective(build_model(kind), CrossEntropy())
    examples, module = TensorExamples(words, labels), build_model(kind)
    curvature = GaussNewton(objective, examples.with_batch_size(6), torch.arange(6))
    sketcher = GradientSketcher.fit(curvature, 0.1, dimensions=12, width=64, energy=0.999)
    gradients = Gradients(objective)
    expected = truth(module, words, labels)
    actual = sketcher(gradients, examples.take(all_ids(examples)))
    rows = (
        expected
        if sketcher.projector.projection is None
        else sketcher.projector.projection.project_vectors(expected)
    )
    torch.testing.assert_close(actual, sketcher.projector.count_sketch(rows) @ sketcher._whitening)
    s_test = torch.randn(2, expected.shape[1], dtype=torch.float64)
    scorer = make_low_rank_scorer(GradientScorer(Gradients(objective), examples, s_test), 3)
    torch.testing.assert_close(
        scorer.compute_effects(all_ids(examples)).values,
        s_test @ expected.T / N,
        rtol=1e-9,
        atol=1e-12,
    )


def test_ekfac_refuses_a_layer_whose_rows_are_routed_after_its_blocks_were_chosen():
    words, labels = make_rows(padded=7)
    words[:2], words[2:4] = words[:1], words[:1]  # the first four rows are routed to one expert
    examples = TensorExamples(words, labels)
    curvature = GaussNewton(ModuleObjective(build_model("experts"), CrossEntropy()), examples)
    with pytest.raises(InputError, match=r"EK-FAC.*other rows"):
        Ekfac.fit(curvature)
