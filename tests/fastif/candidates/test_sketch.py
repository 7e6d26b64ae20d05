"""Gradient sketches against the dense inverse, and their error by size."""

import pytest
import reference
import torch
from cases import case
from torch import nn

from fastif import CrossEntropy, GaussNewton, InputError, ModuleObjective, TensorExamples
from fastif.candidates.count_sketch import CountSketch
from fastif.candidates.layer_projection import LayerProjection
from fastif.candidates.sketch import (
    GradientSketcher,
    compute_query_sketches,
    compute_train_sketches,
)
from fastif.data.examples import all_ids
from fastif.gradients.hooks import capture_layer_grads

DAMPING = 0.05


def _curvature(name, batch_size=4):
    made = case(name, batch_size=batch_size)
    return made, GaussNewton(made.objective, made.train)


def _effects(sketcher, curvature, made, batch_size=4):
    """Inner products ∇Lᵀ (G + λI)⁻¹ ∇L of all pairs of training examples, by unrounded sketches."""
    rows = compute_query_sketches(
        sketcher, curvature.gradients, made.train.with_batch_size(batch_size)
    ).double()
    return rows @ rows.T


def _expected(made):
    gradients = reference.gradients(made.problem)
    matrix = reference.gauss_newton(made.problem)
    count = len(gradients)
    return count * reference.removal_effects(gradients, gradients, matrix, DAMPING)


@pytest.mark.default_cases
@pytest.mark.parametrize("energy", [1.0, 1 - 1e-9])
@pytest.mark.parametrize("name", ["mlp", "layernorm", "bert", "outside", "embedding"])
def test_full_rank_sketches_are_exact(name, energy):
    made, curvature = _curvature(name)
    rows = curvature.count * curvature.rows_per_example
    sketcher = GradientSketcher.fit(
        curvature, DAMPING, dimensions=rows, width=curvature.size, energy=energy
    )
    expected = _expected(made)
    actual = _effects(sketcher, curvature, made)
    assert float((actual - expected).norm() / expected.norm()) < 1e-4


def test_the_error_falls_with_the_square_root_of_the_width():
    made, curvature = _curvature("mlp")
    rows, expected = curvature.count * curvature.rows_per_example, _expected(made)

    def error(width):
        results = [
            _effects(
                GradientSketcher.fit(curvature, DAMPING, dimensions=rows, width=width, seed=seed),
                curvature,
                made,
            )
            for seed in range(12)
        ]
        return float(sum((effects - expected).norm() for effects in results) / 12 / expected.norm())

    wide = curvature.size
    errors = [error(wide // part) for part in (16, 4)]
    assert 1.3 < errors[0] / errors[1] < 4  # 2 for an error proportional to width^-½
    assert errors[1] < errors[0]


def test_the_error_falls_with_the_number_of_factor_rows():
    made, curvature = _curvature("mlp")
    expected, total = _expected(made), curvature.count * curvature.rows_per_example
    errors = []
    for rows in (total // 8, total // 2, total):
        sketcher = GradientSketcher.fit(curvature, DAMPING, dimensions=rows, width=curvature.size)
        actual = _effects(sketcher, curvature, made)
        errors.append(float((actual - expected).norm() / expected.norm()))
    assert errors[0] > errors[1] > errors[2]


def test_sketches_do_not_depend_on_batches():
    made, curvature = _curvature("mlp", 3)
    other = GaussNewton(made.objective, made.train.with_batch_size(7))
    first, second = (
        GradientSketcher.fit(c, DAMPING, dimensions=12, width=40) for c in (curvature, other)
    )
    torch.testing.assert_close(
        _effects(first, curvature, made, 3), _effects(second, other, made, 7), rtol=1e-4, atol=1e-5
    )
    ids = torch.tensor([4, 0, 5])
    half = compute_train_sketches(first, curvature.gradients, made.train.with_batch_size(2), ids)
    whole = compute_query_sketches(first, curvature.gradients, made.train.with_batch_size(2), ids)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), whole, rtol=2e-3, atol=1e-3)


def test_a_nonfinite_gradient_has_a_sketch_of_zeros():
    made = case("mlp")
    inputs = made.train.inputs.clone()
    inputs[1] = torch.inf
    train = TensorExamples(inputs, made.train.labels, batch_size=4)
    curvature = GaussNewton(made.objective, train)
    sketcher = GradientSketcher.fit(curvature, DAMPING, dimensions=10, width=64)
    sketches = compute_train_sketches(sketcher, curvature.gradients, train)
    assert bool((sketches[1] == 0).all())
    assert bool((sketches[[0, 2, 3]] != 0).any(1).all())
    assert bool(torch.isfinite(sketches).all())


def test_a_sketcher_is_restored_from_its_state_dict():
    made, curvature = _curvature("mlp")
    sketcher = GradientSketcher.fit(curvature, DAMPING, dimensions=12, width=40, seed=3)
    again = GradientSketcher.from_state_dict(sketcher.state_dict(), curvature.objective)
    first, second = (_effects(fitted, curvature, made) for fitted in (sketcher, again))
    assert torch.equal(first, second)


def test_invalid_sizes_are_refused():
    _, curvature = _curvature("mlp")
    with pytest.raises(InputError, match=r"dimensions.*got 0"):
        GradientSketcher.fit(curvature, DAMPING, dimensions=0)
    with pytest.raises(InputError, match=r"damping.*got 0"):
        GradientSketcher.fit(curvature, 0.0)


@pytest.mark.parametrize("bias", [300.0, 0.0])
def test_a_curvature_of_zero_is_refused(bias):
    """A model with probabilities of 0 and 1 on all rows; and inputs of zero, without gradients."""
    points = torch.zeros(6, 3)
    module = nn.Linear(3, 2)
    module.bias.data = torch.tensor([bias, 0.0])
    objective = ModuleObjective(module, CrossEntropy(), attributed=["weight"])
    curvature = GaussNewton(objective, TensorExamples(points, torch.tensor([0, 1] * 3)))
    with pytest.raises(InputError, match="a curvature of zero"):
        GradientSketcher.fit(curvature, DAMPING, dimensions=4)


# The per-layer projection alone.


@pytest.mark.parametrize("name", ["mlp", "layernorm", "bert"])
@pytest.mark.parametrize("energy", [0.6, 0.9, 1 - 1e-9])
def test_projected_gradients_equal_the_dense_projection(name, energy):
    made, curvature = _curvature(name)
    space, gradients = made.objective.space, curvature.gradients
    batch = made.train.take(all_ids(made.train))
    captured = list(capture_layer_grads(made.objective, batch, "losses"))
    projection = LayerProjection.fit(space, captured, curvature.like, energy)
    actual = projection(captured[0], len(made.train), curvature.like)
    rows, expected = gradients.compute_loss_tile(batch).gradients, []
    for parameter, where, shape in zip(space.names, space.slices, space.shapes, strict=True):
        block = rows[:, where].view(-1, *shape)
        bases = projection.bases.get(parameter.rpartition(".")[0])
        if bases is not None and len(shape) == 2:
            block = bases.outputs.T @ block @ bases.inputs
        elif bases is not None:
            block = block @ bases.outputs
        expected.append(block.flatten(1))
    torch.testing.assert_close(actual, torch.cat(expected, 1), rtol=1e-4, atol=1e-6)
    assert projection.size == actual.shape[1]
    if energy < 0.9:
        assert actual.shape[1] < rows.shape[1]


def test_the_bases_keep_the_requested_energy():
    made, curvature = _curvature("mlp")
    layer_calls = next(
        capture_layer_grads(made.objective, made.train.take(all_ids(made.train)), "losses")
    )
    projection = LayerProjection.fit(made.objective.space, [layer_calls], curvature.like, 0.8)
    for call, delta in layer_calls:
        bases, shares = projection.bases[call.name], []
        weighed = call.inputs * delta.norm(dim=1, keepdim=True)
        for rows, axes in ((delta, bases.outputs), (weighed, bases.inputs)):
            torch.testing.assert_close(axes.T @ axes, torch.eye(axes.shape[1]).to(axes))
            shares.append(float((rows @ axes).square().sum() / rows.square().sum()))
        assert shares[0] * shares[1] >= 0.8 - 1e-6


# The count sketch alone.


@pytest.mark.parametrize(("size", "width"), [(10, 4), (12, 4), (7, 7), (5, 8), (33, 1)])
def test_a_count_sketch_has_one_sign_for_each_coordinate(size, width):
    matrix = CountSketch(size, width, seed=2)(torch.eye(size))
    assert matrix.shape == (size, width)
    assert set(matrix.abs().sum(1).tolist()) == {1.0}
    rows = torch.randn(6, size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(CountSketch(size, width, seed=2)(rows), rows @ matrix)


def test_sketched_products_are_unbiased_with_bounded_variance():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 300, generator=generator, dtype=torch.float64)
    width, draws = 32, 2000
    products = torch.stack(
        [(f := CountSketch(300, width, seed))(x[None])[0] @ f(y[None])[0] for seed in range(draws)]
    )
    bound = float((x @ x) * (y @ y) + (x @ y) ** 2) / width
    assert float(products.var()) < 1.15 * bound
    assert float((products.mean() - x @ y).abs()) < 4 * (bound / draws) ** 0.5
