"""Importance-sampled factor rows, compared with the dense Gauss-Newton matrix."""

import pytest
import reference
import torch
from cases import case
from torch import nn

from fastif import (
    ConjugateGradient,
    CrossEntropy,
    GaussNewton,
    InputError,
    ModuleObjective,
    TensorExamples,
)
from fastif.curvature.sampled_ggn import (
    SampledGaussNewton,
    inclusion_probabilities,
    systematic_sample,
)
from fastif.solvers.gram import compute_gram_matrix, iterate_tiles

NAMES = ["mlp", "layernorm"]


def _concat_tiles(sampled):
    return torch.cat(
        [tile.gradients.clone() for tile in iterate_tiles(sampled, 0, sampled.num_batches)]
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_all_factor_rows_is_the_gauss_newton_matrix(name):
    made = case(name)
    curvature = GaussNewton(made.objective, made.train.with_batch_size(3))
    sampled = SampledGaussNewton.from_curvature(
        curvature, curvature.count * curvature.rows_per_example
    )
    rows, expected = _concat_tiles(sampled), reference.gauss_newton(made.problem)
    torch.testing.assert_close((rows.T @ rows / sampled.count).double(), expected)
    torch.testing.assert_close(sampled.to_dense().double(), expected)


@pytest.mark.default_cases("mlp")
@pytest.mark.parametrize("name", NAMES)
def test_the_sampled_matrix_is_unbiased(name):
    made = case(name)
    curvature = GaussNewton(made.objective, made.train.with_batch_size(8))
    count, repeats = curvature.count * curvature.rows_per_example // 3, 150
    mean = (
        sum(
            SampledGaussNewton.from_curvature(curvature, count, seed).to_dense()
            for seed in range(repeats)
        )
        / repeats
    )
    expected = reference.gauss_newton(made.problem)
    sampled = SampledGaussNewton.from_curvature(curvature, count, 0).to_dense()
    off = float((mean - expected).norm())
    assert off < 0.2 * float((sampled - expected).norm())  # 12 times smaller if unbiased
    assert float((sampled - expected).norm()) > 0.01 * float(
        expected.norm()
    )  # a sample differs from the mean


def test_a_sample_does_not_depend_on_the_batch_size():
    made = case("mlp")
    operators = [
        SampledGaussNewton.from_curvature(
            GaussNewton(made.objective, made.train.with_batch_size(size)), 10
        )
        for size in (2, 7)
    ]
    first, other = map(_concat_tiles, operators)
    torch.testing.assert_close(first, other)
    torch.testing.assert_close(compute_gram_matrix(operators[0], 2), first @ first.T)


def test_inclusion_probabilities_sum_to_the_count_and_are_1_for_the_largest():
    generator = torch.Generator().manual_seed(3)
    sizes = torch.randn(200, generator=generator, dtype=torch.float64).exp() ** 3
    sizes[::5] = 0
    for count in (1, 17, 100, 159, 160, 500):
        probabilities = inclusion_probabilities(sizes, count)
        assert float(probabilities.sum()) == pytest.approx(min(count, 160))
        assert bool((probabilities <= 1).all())
        sampled = systematic_sample(probabilities, seed=count)
        assert len(sampled) == min(count, 160)
        assert bool((sizes[sampled] > 0).all())
        assert set(torch.nonzero(probabilities >= 1)[:, 0].tolist()) <= set(sampled.tolist())
        open_ = (probabilities > 0) & (probabilities < 1)
        if bool(open_.any()):  # proportional to size
            ratio = probabilities[open_] / sizes[open_]
            torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_the_frequency_of_each_unit_is_its_inclusion_probability():
    probabilities = inclusion_probabilities(torch.arange(1.0, 21.0, dtype=torch.float64), 6)
    times = torch.zeros(20)
    for seed in range(3000):
        times[systematic_sample(probabilities, seed)] += 1
    torch.testing.assert_close(times / 3000, probabilities.float(), atol=0.04, rtol=0)


def test_a_nonfinite_example_is_never_sampled():
    made = case("mlp")
    inputs = made.train.inputs.clone()
    inputs[2] = torch.nan
    train = TensorExamples(inputs, made.train.labels)
    curvature = GaussNewton(made.objective, train.with_batch_size(4))
    sampled = SampledGaussNewton.from_curvature(curvature, 1000)
    assert 2 not in sampled.ids.tolist()
    torch.testing.assert_close(sampled.to_dense(), curvature.to_dense())


def _saturated():
    """A model with a softmax of exactly 0 and 1 on every row in single precision."""
    points = torch.randn(12, 3, generator=torch.Generator().manual_seed(4))
    model = nn.Linear(3, 2)
    model.weight.data, model.bias.data = torch.zeros(2, 3), torch.tensor([300.0, 0.0])
    objective = ModuleObjective(model, CrossEntropy())
    return GaussNewton(objective, TensorExamples(points, torch.zeros(12, dtype=torch.long)))


def test_a_saturated_model_is_refused():
    curvature = _saturated()
    assert float(curvature.to_dense().norm()) == 0
    with pytest.raises(InputError, match=r"GGN factor: .*curvature of zero.*Inspect the losses"):
        SampledGaussNewton.from_curvature(curvature, 5)
    solver = ConjugateGradient(preconditioner="drawn", rank=5)
    with pytest.raises(InputError, match="curvature of zero"):
        solver.solve(curvature.with_damping(0.1), torch.ones(1, curvature.size))


def test_factor_rows_that_are_all_nonfinite_are_refused():
    made = case("mlp")
    train = TensorExamples(torch.full_like(made.train.inputs, torch.nan), made.train.labels)
    with pytest.raises(InputError, match="curvature of zero"):
        SampledGaussNewton.from_curvature(GaussNewton(made.objective, train), 5)
