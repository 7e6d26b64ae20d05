"""Layer-wise influence: blocks sum to the whole effect, each against a dense product."""

import pytest
import reference
import torch
from cases import case, token_examples, transformer

from fastif import (
    Dual,
    GaussNewton,
    Gradients,
    InputError,
    TransformerObjective,
    all_ids,
    influence,
)
from fastif.attribution.influence import NO_EXAMPLE
from fastif.attribution.layerwise import ParameterBlocks, layerwise_influence
from fastif.candidates import Candidates
from fastif.gradients.per_example import compute_loss_gradients
from fastif.models.parameters import ParamSpace

DAMPING = 0.1


@pytest.fixture(params=["mlp", "layernorm", "outside", "bert"], scope="module")
def solved(request):
    """A case, three queries, their s_test, and the dense s_test [q p] and gradients [n p]."""
    made = case(request.param, 12 if request.param != "bert" else 5)
    truth = reference.gradients(made.problem)
    queries = truth[[1, 3, 4]]
    matrix = reference.gauss_newton(made.problem)
    inverse = torch.linalg.inv(matrix + DAMPING * torch.eye(len(matrix), dtype=matrix.dtype))
    operator = GaussNewton(made.objective, made.train).with_damping(DAMPING)
    return made, Dual().solve(operator, queries).value, queries @ inverse, truth


def _pairs(made) -> torch.Tensor:
    return torch.tensor([[4, 0, 3, 3], [0, 1, 2, 4], [2, 4, 0, 1]]) % len(made.train)


@pytest.mark.default_cases
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_each_block_is_a_dense_product_over_its_parameters(solved, batch_size):
    made, s_test, solution, truth = solved
    space, ids = made.objective.space, _pairs(made)
    blocks = ParameterBlocks.from_layers(space)
    actual = layerwise_influence(
        Gradients(made.objective), made.train.with_batch_size(batch_size), s_test, ids, blocks
    )
    assert actual.shape == (3, 4, len(blocks.names))
    owners = {"outside": ["inner"], "layernorm": ["inner", "norm", "outer"], "mlp": ["0", "2"]}
    if made.name in owners:
        assert list(blocks.names) == owners[made.name]
    named = torch.tensor(
        [
            blocks.names.index(next(b for b in blocks.names if f"{name}.".startswith(f"{b}.")))
            for name, shape in zip(space.names, space.shapes, strict=True)
            for _ in range(torch.Size(shape).numel())
        ]
    )
    for q in range(3):
        for k, train in enumerate(ids[q].tolist()):
            each = solution[q] * truth[train] / len(made.train)
            expected = [each[named == block].sum() for block in range(len(blocks.names))]
            torch.testing.assert_close(actual[q, k], torch.stack(expected), rtol=1e-8, atol=1e-12)


def test_the_blocks_sum_to_the_effect(solved):
    made, s_test, _, _ = solved
    ids, gradients = _pairs(made)[:, :2], Gradients(made.objective)
    whole = influence(gradients, made.train, s_test, Candidates(ids, torch.zeros(3, 2)))
    space = made.objective.space
    for blocks in (
        ParameterBlocks.from_layers(space),
        ParameterBlocks.from_patterns(space, {"weights": "weight$"}),
        ParameterBlocks.from_patterns(
            space, {"weights": ["weight$"], "biases": ["bias$"], "none": "no such"}
        ),
    ):
        actual = layerwise_influence(gradients, made.train, s_test, whole.ids, blocks).sum(2)
        torch.testing.assert_close(actual, whole.removal_effect, rtol=1e-10, atol=1e-14)


def test_a_block_without_attributed_parameters_is_zero(solved):
    made, s_test, _, _ = solved
    blocks = ParameterBlocks.from_patterns(
        made.objective.space, {"biases": "bias$", "frozen": "embeddings"}
    )
    actual = layerwise_influence(
        Gradients(made.objective), made.train, s_test, _pairs(made), blocks
    )
    assert blocks.names[:2] == ("biases", "frozen")
    assert (actual[:, :, 1] == 0).all()
    assert (actual[:, :, 0] != 0).any()


def test_empty_cells_of_an_index_have_infinite_scores(solved):
    made, s_test, _, _ = solved
    ids = _pairs(made)
    blocks = ParameterBlocks.from_layers(made.objective.space)
    full = layerwise_influence(Gradients(made.objective), made.train, s_test, ids, blocks)
    ids[1, 2] = ids[0, 0] = NO_EXAMPLE
    actual = layerwise_influence(Gradients(made.objective), made.train, s_test, ids, blocks)
    assert torch.isinf(actual[ids == NO_EXAMPLE]).all()
    assert torch.equal(actual[ids != NO_EXAMPLE], full[ids != NO_EXAMPLE])


def test_a_query_without_pairs_has_no_scores(solved):
    made, s_test, _, _ = solved
    blocks = ParameterBlocks.from_layers(made.objective.space)
    none = torch.empty(3, 0, dtype=torch.long)
    actual = layerwise_influence(Gradients(made.objective), made.train, s_test, none, blocks)
    assert actual.shape == (3, 0, len(blocks.names))


def test_layers_of_a_transformer_are_named_as_in_the_model():
    model, examples = transformer("bert"), token_examples(6)
    objective = TransformerObjective(model, ["layer\\.[12]\\.", "pooler", "classifier"])
    blocks = ParameterBlocks.from_layers(objective.space)
    assert blocks.names == (
        "bert.encoder.layer.1",
        "bert.encoder.layer.2",
        "bert.pooler.dense",
        "classifier",
    )
    gradients = Gradients(objective)
    rows = compute_loss_gradients(gradients, examples.with_batch_size(2), all_ids(examples)[:2])
    ids = all_ids(examples).expand(2, -1)
    actual = layerwise_influence(gradients, examples, rows, ids, blocks)
    plain = rows @ compute_loss_gradients(gradients, examples.with_batch_size(6)).T / 6
    torch.testing.assert_close(actual.sum(2), plain)


def test_every_parameter_is_in_exactly_one_block():
    space = ParamSpace(("a.0.w", "a.0.b", "a.10.w", "a.1.x.2.w", "3.w", "top"), ((2,),) * 6)
    blocks = ParameterBlocks.from_layers(space)
    assert blocks.names == ("a.0", "a.10", "a.1", "3", "top")
    places = [
        i for slices in blocks.slices.values() for s in slices for i in range(s.start, s.stop)
    ]
    assert sorted(places) == list(range(space.size))


def test_overlapping_or_reserved_groups_are_refused():
    space = ParamSpace(("a.weight", "b.weight"), ((2,), (2,)))
    with pytest.raises(InputError, match=r"a\.weight in first and second"):
        ParameterBlocks.from_patterns(space, {"first": "^a", "second": ["weight$"]})
    with pytest.raises(InputError, match="Rename this group"):
        ParameterBlocks.from_patterns(space, {"other": "^a"})
