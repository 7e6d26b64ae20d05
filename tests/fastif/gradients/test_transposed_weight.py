"""Linear layers with weights [i o], as in GPT-2, have the results of their twins with [o i]."""

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from fastif import (
    CrossEntropy,
    Ekfac,
    GaussNewton,
    Gradients,
    ModuleObjective,
    TensorExamples,
    all_ids,
)
from fastif.attribution.low_rank_scorer import LowRankScorer, make_low_rank_scorer
from fastif.attribution.scorers import GradientScorer
from fastif.candidates.layer_projection import LayerProjection
from fastif.gradients.hooks import capture_layer_grads
from fastif.gradients.layer_rules import has_closed_form

SIZES = ((3, 4), (4, 4), (4, 2))
"""Inputs and outputs of each layer, one of them square."""


class Mean(nn.Module):
    """Layers on every position, then the mean over positions."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x.mean(1)


def _make_twins() -> tuple[Mean, Mean]:
    torch.manual_seed(0)
    linear = Mean([nn.Linear(i, o) for i, o in SIZES]).double()
    transposed = Mean([Conv1D(o, i) for i, o in SIZES]).double()
    for layer, twin in zip(linear.layers, transposed.layers, strict=True):
        twin.weight.data = layer.weight.data.T.contiguous()
        twin.bias.data = layer.bias.data.clone()
    return linear, transposed


LINEAR, TRANSPOSED = (ModuleObjective(module, CrossEntropy()) for module in _make_twins())
_GENERATOR = torch.Generator().manual_seed(1)
TRAIN = TensorExamples(
    torch.randn(9, 5, 3, generator=_GENERATOR, dtype=torch.float64), torch.arange(9) % 2
)
BATCH = TRAIN.take(all_ids(TRAIN))


def _order() -> Tensor:
    """Return the coordinates of the twin's vector in the order of the plain layers'."""
    space = TRANSPOSED.space
    spans = torch.arange(space.size)
    blocks = []
    for span, shape in zip(space.slices, space.shapes, strict=True):
        block = spans[span].view(shape)
        blocks.append((block.T if block.dim() == 2 else block).flatten())
    return torch.cat(blocks)


def test_gradients_are_transposed_without_a_vector_jacobian_product():
    assert all(has_closed_form(layer) for layer in TRANSPOSED.module.layers)
    gradients = [
        Gradients(objective).compute_loss_tile(BATCH) for objective in (LINEAR, TRANSPOSED)
    ]
    truth, actual = (tile.gradients for tile in gradients)
    torch.testing.assert_close(actual[:, _order()], truth)
    assert Gradients(TRANSPOSED).uses_hooks(BATCH)


def test_ekfac_has_kronecker_blocks_of_the_same_matrix():
    plain, transposed = (Ekfac.fit(GaussNewton(o, TRAIN)) for o in (LINEAR, TRANSPOSED))
    assert {group.kind for group in transposed.spec.groups} == {"kronecker-transposed"}
    order = _order()
    torch.testing.assert_close(transposed.to_dense()[order][:, order], plain.to_dense())
    vectors = torch.randn(3, plain.size, generator=_GENERATOR, dtype=torch.float64)
    permuted = torch.empty_like(vectors)
    permuted[:, order] = vectors
    restored = Ekfac.from_state_dict(
        load(save(transposed.state_dict())), TRANSPOSED.space, transposed.like
    )
    for fit in (transposed, restored):
        for negligible in (0.0, 0.3):
            torch.testing.assert_close(
                fit.apply_inverse(permuted, 0.1, negligible)[:, order],
                plain.apply_inverse(vectors, 0.1, negligible),
            )


@pytest.mark.parametrize("attributed", [["weight"], ["bias"]])
def test_ekfac_of_weights_or_biases_alone(attributed):
    objectives = [ModuleObjective(m, CrossEntropy(), attributed) for m in _make_twins()]
    plain, transposed = (Ekfac.fit(GaussNewton(o, TRAIN)) for o in objectives)
    torch.testing.assert_close(transposed.eigenvalues.sort()[0], plain.eigenvalues.sort()[0])


@pytest.mark.parametrize("rank", [1, 2])
def test_low_rank_scores_are_equal(rank):
    order, scores = _order(), []
    s_test = torch.randn(2, LINEAR.space.size, generator=_GENERATOR, dtype=torch.float64)
    permuted = torch.empty_like(s_test)
    permuted[:, order] = s_test
    for objective, vectors in ((LINEAR, s_test), (TRANSPOSED, permuted)):
        scorer = make_low_rank_scorer(GradientScorer(Gradients(objective), TRAIN, vectors), rank)
        assert isinstance(scorer, LowRankScorer)
        assert len(scorer.factors) == sum(rank < min(shape) for shape in SIZES)
        scores.append(scorer.compute_effects(all_ids(TRAIN)).values)
        rows = Gradients(objective).compute_loss_tile(BATCH).gradients
        torch.testing.assert_close(scorer._score_gradients(rows).values, scores[-1])
    torch.testing.assert_close(scores[1], scores[0])


def test_projected_gradients_have_equal_inner_products():
    products = []
    for objective in (LINEAR, TRANSPOSED):
        calls = next(capture_layer_grads(objective, BATCH, "losses"))
        fitted = LayerProjection.fit(objective.space, [calls], objective.like, 0.9)
        restored = LayerProjection.from_state_dict(
            objective.space, load(save(fitted.state_dict())), objective.like
        )
        rows = Gradients(objective).compute_loss_tile(BATCH).gradients
        for projection in (fitted, restored):
            projected = projection(calls, len(TRAIN), objective.like)
            torch.testing.assert_close(projection.project_vectors(rows), projected)
        products.append(projected @ projected.T)
    assert fitted.size < objective.space.size
    torch.testing.assert_close(products[1], products[0])
