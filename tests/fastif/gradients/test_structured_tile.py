"""Operations of structured tiles, compared with dense autograd in double precision."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from fastif import CrossEntropy, GaussNewton, Gradients, ModuleObjective, TensorExamples
from fastif.gradients import outer_products
from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.structured_tile import StructuredTile, concat_rows, merge_columns
from tests.fastif.gradients.factor_models import CLASSES, MODELS


def make(name, dtype=torch.float64, count=7):
    build, shape = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        module = build().to(dtype).eval()
        inputs = torch.randn(count, *shape, dtype=dtype)
    labels = torch.arange(count) % CLASSES
    return module, TensorExamples(inputs, labels).with_batch_size(3)


def factor_rows(module, inputs, labels, objective):
    """Rows ∇(outputsᵀ s_j) by one backward pass each, [columns, examples, p]."""
    params = {name: tensor.detach().requires_grad_() for name, tensor in module.named_parameters()}
    rows = []
    for example, label in zip(inputs, labels, strict=True):
        outputs = functional_call(module, params, (example[None],))
        root = objective.loss.sqrt_hessian(outputs.detach(), label[None])[0]
        for column in root.T:
            grads = torch.autograd.grad(outputs[0] @ column, params.values(), retain_graph=True)
            rows.append(torch.cat([tensor.flatten() for tensor in grads]))
    return torch.stack(rows).unflatten(0, (len(inputs), -1)).transpose(0, 1)


def merged(name, ids=None, dtype=torch.float64):
    """The merged tile of a batch, and its rows by autograd."""
    module, examples = make(name, dtype)
    objective = ModuleObjective(module, CrossEntropy())
    batch = examples.take(torch.arange(7) if ids is None else torch.tensor(ids))
    (tile,) = merge_columns(Gradients(objective).compute_sqrt_hessian_tiles(batch))
    assert isinstance(tile, StructuredTile)
    return tile, factor_rows(module, batch["inputs"], batch["labels"], objective).flatten(0, 1)


@pytest.fixture(params=[None, 30], ids=["whole", "in parts"])
def parts(request, monkeypatch):
    """Intermediate results in one part, or in many."""
    if request.param:
        monkeypatch.setattr("fastif.gradients.outer_products.MAX_NUMBERS", request.param)


@pytest.mark.default_cases
@pytest.mark.parametrize("count", [0, 1, 6, 300])
@pytest.mark.parametrize("name", MODELS)
def test_products_with_vectors(name, count, parts):
    """By factors for few vectors, and by formed rows for many with several positions."""
    tile, rows = merged(name)
    vectors = torch.randn(count, rows.shape[1], dtype=torch.float64)
    weights = torch.randn(count, len(rows), dtype=torch.float64)
    torch.testing.assert_close(tile.dot(vectors), vectors @ rows.T)
    totals = vectors.clone()
    tile.accumulate(totals, weights)
    torch.testing.assert_close(totals, vectors + weights @ rows)
    assert not tile.is_formed


def test_many_vectors_and_positions_are_multiplied_with_formed_rows():
    layer = next(iter(merged("positions")[0].layers.values()))
    assert [layer._is_cheaper_formed(count) for count in (6, 30000)] == [False, False]
    single = layer.select(torch.arange(len(layer)))
    assert [single._is_cheaper_formed(count) for count in (6, 300)] == [False, True]


@pytest.mark.default_cases
@pytest.mark.parametrize("name", MODELS)
def test_products_of_two_tiles(name, parts):
    (left, left_rows), (right, right_rows) = merged(name, [0, 2, 5]), merged(name, [1, 2, 3, 6])
    expected = left_rows @ right_rows.T
    torch.testing.assert_close(left.products(right), expected)
    dense = GradientTile(right_rows)
    torch.testing.assert_close(left.products(dense), expected)
    torch.testing.assert_close(dense.products(left), expected.T)


def test_the_size_of_a_product_counts_factors_and_all_other_parameters():
    tile, rows = merged("mlp")  # 20 x 16 and 16 x 4 with factors, 32 of a norm
    writing, columns = outer_products.WRITING_COST, CLASSES - 1
    assert tile.product_size == pytest.approx(20 + 36 / columns**2 + 2 * writing + 32)
    sequence, _ = merged("positions")
    positions = 80 / columns**2 + 60 + writing, 60 / columns**2 + 16 + writing  # two each
    head = 16 / columns**2 + CLASSES + writing
    assert sequence.product_size == pytest.approx(4 * sum(positions) + head + 32)
    assert GradientTile(rows).product_size == rows.shape[1]
    assert len(tile.gradients)  # formed from now on
    assert tile.product_size == rows.shape[1]


@pytest.mark.parametrize("name", MODELS)
def test_norms(name):
    tile, rows = merged(name)
    torch.testing.assert_close(tile.norms(), rows.norm(dim=1))
    torch.testing.assert_close(tile.squared_norms(), rows.square().sum(1))
    slices = ModuleObjective(make(name)[0], CrossEntropy()).space.slices
    for norms, columns in zip(tile.parameter_norms(slices), slices, strict=True):
        torch.testing.assert_close(norms, rows[:, columns].norm(dim=1).float())


@pytest.mark.parametrize("name", MODELS)
def test_selected_and_joined_rows(name):
    (left, left_rows), (right, right_rows) = merged(name, [0, 2, 5]), merged(name, [1, 2, 3, 6])
    positions = torch.tensor([8, 0, 4])
    chosen = concat_rows([left.select(positions), right])
    assert isinstance(chosen, StructuredTile)
    expected = torch.cat([left_rows[positions], right_rows])
    torch.testing.assert_close(chosen.form(), expected)
    mixed = concat_rows([left.select(positions), GradientTile(right_rows)])
    torch.testing.assert_close(mixed.gradients, expected)


@pytest.mark.parametrize("name", MODELS)
def test_no_rows(name):
    tile, rows = merged(name)
    none = tile.select(torch.tensor([], dtype=torch.long))
    assert tile.products(none).shape == (len(rows), 0)
    assert none.products(tile).shape == (0, len(rows))
    assert none.dot(rows).shape == (len(rows), 0)
    assert none.norms().shape == (0,)


def test_tiles_of_other_layouts_are_multiplied_by_formed_rows():
    """Sequences of one and of many positions have their factors in other layers."""
    module, _ = make("positions")
    objective, generator = ModuleObjective(module, CrossEntropy()), torch.Generator().manual_seed(1)
    labels, tiles, rows = torch.arange(3), [], []
    for length in (1, 2, 3):
        inputs = torch.randn(3, length, 80, generator=generator, dtype=torch.float64)
        tile = next(
            Gradients(objective).compute_sqrt_hessian_tiles({"inputs": inputs, "labels": labels})
        )
        tiles.append(tile)
        rows.append(factor_rows(module, inputs, labels, objective)[0])
    assert tiles[0].layout != tiles[2].layout
    for left, left_rows in zip(tiles, rows, strict=True):
        for right, right_rows in zip(tiles, rows, strict=True):
            torch.testing.assert_close(left.products(right), left_rows @ right_rows.T)
    assert not any(tile.is_formed for tile in tiles)
    joined = concat_rows(tiles)
    torch.testing.assert_close(joined.gradients, torch.cat(rows))


def test_a_change_of_the_formed_gradients_changes_the_tile():
    tile, rows = merged("mlp")
    other, other_rows = merged("mlp", [1, 4])
    tile.gradients.mul_(3)
    vectors = torch.randn(2, rows.shape[1], dtype=torch.float64)
    torch.testing.assert_close(tile.dot(vectors), 3 * vectors @ rows.T)
    torch.testing.assert_close(tile.products(other), 3 * rows @ other_rows.T)
    torch.testing.assert_close(other.products(tile), 3 * other_rows @ rows.T)
    torch.testing.assert_close(tile.norms(), 3 * rows.norm(dim=1))
    totals = torch.zeros_like(vectors)
    tile.accumulate(totals, torch.ones(2, len(rows), dtype=torch.float64))
    torch.testing.assert_close(totals, (3 * rows).sum(0).expand(2, -1))


@pytest.mark.parametrize(
    ("name", "patterns", "structured"),
    [
        ("mlp", "all", True),
        ("mlp", ["0.weight"], True),
        ("mlp", ["0.weight", "3.bias"], True),
        ("mlp", ["bias"], False),
        ("mlp", ["2.weight"], False),
        ("positions", ["head", "norm"], True),
    ],
)
def test_some_attributed_parameters(name, patterns, structured):
    module, examples = make(name)
    objective = ModuleObjective(module, CrossEntropy(), patterns)
    batch = examples.take(torch.arange(5))
    tile = Gradients(objective).compute_loss_tile(batch)
    assert isinstance(tile, StructuredTile) is structured
    expected = []
    for example, label in zip(batch["inputs"], batch["labels"], strict=True):
        loss = nn.functional.cross_entropy(module(example[None]), label[None])
        own = [module.get_parameter(n) for n in objective.space.names]
        grads = torch.autograd.grad(loss, own)
        expected.append(torch.cat([tensor.flatten() for tensor in grads]))
    expected = torch.stack(expected)
    vectors = torch.randn(2, expected.shape[1], dtype=torch.float64)
    torch.testing.assert_close(tile.dot(vectors), vectors @ expected.T)
    torch.testing.assert_close(tile.gradients, expected)


def test_the_choice_is_by_count():
    """Wide layers with few positions; not narrow ones, nor many positions."""

    def is_structured(inputs, outputs, positions):
        module = nn.Sequential(nn.Linear(inputs, outputs), nn.Flatten(), nn.LazyLinear(2))
        module(torch.zeros(1, positions, inputs))
        objective = ModuleObjective(module, CrossEntropy(), ["0.weight"])
        batch = {"inputs": torch.randn(2, positions, inputs), "labels": torch.tensor([0, 1])}
        return isinstance(Gradients(objective).compute_loss_tile(batch), StructuredTile)

    assert is_structured(64, 64, 1)
    assert is_structured(64, 64, 4)  # 16 · 128 = 64 · 64 / 2
    assert not is_structured(64, 64, 5)
    assert not is_structured(300, 2, 1)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e25])
def test_values_that_overflow_are_left_to_formed_gradients(value):
    module, examples = make("mlp", torch.float32)
    batch = examples.take(torch.arange(5))
    batch["inputs"][3, 2] = value
    objective = ModuleObjective(module, CrossEntropy())
    assert not isinstance(Gradients(objective).compute_loss_tile(batch), StructuredTile)


def test_an_example_without_finite_gradient_counts_as_zero_in_all_layers():
    tile, rows = merged("mlp")
    tile.dense[2] = torch.nan
    rows[2] = 0
    mask = tile.zero_nonfinite()
    assert mask.nonzero().tolist() == [[2]]
    torch.testing.assert_close(tile.form(), rows)
    torch.testing.assert_close(tile.products(tile), rows @ rows.T)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("twice", {"layer": 2, "head": 1}),
        ("conv", {"0": 4, "3": 1}),
        ("grouped", {"0[0]": 2, "0[1]": 2, "3": 1}),
        ("transposed", {"0": 1, "2": 1}),
    ],
)
def test_layers_with_factors(name, layers):
    """Calls of one layer add their positions; groups of a convolution are layers of their own."""
    tile, _ = merged(name)
    assert {name: own.inputs.shape[1] for name, own in tile.layers.items()} == layers
    assert {len(own.deltas) for own in tile.layers.values()} == {CLASSES - 1}


def test_a_gauss_newton_product_equals_that_of_the_dense_matrix():
    module, examples = make("mlp")
    objective = ModuleObjective(module, CrossEntropy())
    curvature = GaussNewton(objective, examples)
    batch = examples.take(torch.arange(7))
    rows = factor_rows(module, batch["inputs"], batch["labels"], objective).flatten(0, 1)
    vectors = torch.randn(3, rows.shape[1], dtype=torch.float64)
    torch.testing.assert_close(curvature.apply(vectors), vectors @ rows.T @ rows / 7)
