"""Curvature operators on all kinds of models, compared with dense matrices by naive autograd."""

from dataclasses import replace

import pytest
import reference
import torch
from cases import NAMES, case

from fastif import GaussNewton, Hessian, InputError, all_ids
from fastif.curvature import DampedOperator, DenseOperator, LinearOperator

KINDS = {
    "gauss-newton": (GaussNewton, reference.gauss_newton),
    "hessian": (Hessian, reference.hessian),
}


DEFAULT = {
    "gauss-newton": ("linear", "as-trained", "hinge", "mlp", "layernorm", "shared-table", "bert"),
    "hessian": ("softmax", "multi-label", "conv", "embedding", "twice", "outside", "bare", "bert"),
}
"""Pairs of the default run: each kind of layer, of loss and of route once."""
PAIRS = [
    pytest.param((kind, name), marks=() if name in DEFAULT[kind] else pytest.mark.long)
    for kind in KINDS
    for name in NAMES
]


@pytest.fixture(params=PAIRS, ids="-".join, scope="module")
def pair(request):
    """Return an operator and its dense reference."""
    kind, name = request.param
    build, truth = KINDS[kind]
    made = case(name, 5 if name == "bert" else 9, 4)
    return build(made.objective, made.train), truth(made.problem)


def _rows(operator: LinearOperator, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, operator.size, generator=generator, dtype=torch.float64)


def test_a_product_equals_the_dense_product(pair):
    operator, matrix = pair
    rows = _rows(operator)
    assert matrix.abs().max() > 1e-3
    torch.testing.assert_close(operator.apply(rows), rows @ matrix, rtol=1e-9, atol=1e-11)


def test_to_dense_equals_the_reference_and_is_symmetric(pair):
    operator, matrix = pair
    dense = operator.to_dense(chunk=7)
    torch.testing.assert_close(dense, matrix, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(dense, dense.T, rtol=1e-9, atol=1e-11)


def test_a_product_is_linear_and_does_not_change_its_vectors(pair):
    operator, _ = pair
    a, b = _rows(operator, 4).split(2)
    kept = a.clone()
    together = operator.apply(2 * a - 3 * b)
    torch.testing.assert_close(together, 2 * operator.apply(a) - 3 * operator.apply(b))
    assert torch.equal(a, kept)


@pytest.mark.default_cases
@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_products_do_not_depend_on_the_batch_size(pair, batch_size):
    operator, matrix = pair
    rows = _rows(operator)
    other = replace(operator, examples=operator.examples.with_batch_size(batch_size))
    torch.testing.assert_close(other.apply(rows), rows @ matrix, rtol=1e-9, atol=1e-11)


def test_products_do_not_depend_on_the_order_of_ids(pair):
    operator, matrix = pair
    rows = _rows(operator)
    turned = replace(operator, ids=all_ids(operator.examples).flip(0))
    torch.testing.assert_close(turned.apply(rows), rows @ matrix, rtol=1e-9, atol=1e-11)


@pytest.mark.default_cases
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_ids_select_the_examples_of_the_mean(name, kind):
    made, (build, truth) = case(name, 5, 2), KINDS[kind]
    ids = [4, 1, 1]  # with a repeated id, as in a sample with replacement
    operator = build(made.objective, made.train, torch.tensor(ids))
    torch.testing.assert_close(operator.to_dense(), truth(made.problem, ids), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_gauss_newton_has_no_negative_eigenvalue(name):
    made = case(name, 5)
    values = torch.linalg.eigvalsh(GaussNewton(made.objective, made.train).to_dense())
    assert values.min() > -1e-10 * values.max()


def test_the_hessian_of_a_network_has_negative_eigenvalues():
    """Otherwise the tests above could not distinguish the two curvatures."""
    made = case("mlp")
    values = torch.linalg.eigvalsh(Hessian(made.objective, made.train).to_dense())
    assert values.min() < -1e-3 * values.max()


@pytest.mark.parametrize("name", ["linear", "two-outputs", "softmax"])
def test_both_curvatures_agree_on_linear_models(name):
    made = case(name)
    torch.testing.assert_close(
        GaussNewton(made.objective, made.train).to_dense(),
        Hessian(made.objective, made.train).to_dense(),
    )


@pytest.mark.parametrize("name", ["mlp", "embedding", "outside"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_of_all_one_example_operators_is_the_operator(name, kind):
    made, (build, truth) = case(name, 5), KINDS[kind]
    singles = [build(made.objective, made.train, torch.tensor([i])).to_dense() for i in range(5)]
    torch.testing.assert_close(torch.stack(singles).mean(0), truth(made.problem))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_the_mean_over_sampled_examples_of_the_operator(kind):
    made, (build, truth) = case("mlp", batch_size=2), KINDS[kind]
    operator = build(made.objective, made.train, torch.tensor([2, 5, 8]))
    sampled = operator.sample(torch.Generator().manual_seed(3), 4)
    ids = sampled.ids.tolist()
    assert len(ids) == 4
    assert set(ids) <= {2, 5, 8}
    torch.testing.assert_close(sampled.to_dense(), truth(made.problem, ids))


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_uniform_and_follow_the_generator(kind):
    made = case("linear", 5)
    operator = KINDS[kind][0](made.objective, made.train)
    generator = torch.Generator().manual_seed(11)
    drawn = torch.cat([operator.sample(generator, 3).ids for _ in range(1000)])
    share = drawn.bincount(minlength=5) / 3000
    assert (share - 0.2).abs().max() < 0.03  # four standard deviations
    again = [operator.sample(torch.Generator().manual_seed(s), 6).ids for s in (1, 1, 2)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])


def test_a_sample_shares_the_gradient_route_of_its_operator():
    """Checking the route costs three times the single gradient of a LiSSA step."""
    made = case("mlp")
    operator = GaussNewton(made.objective, made.train)
    operator.apply(_rows(operator))
    sampled = operator.sample(torch.Generator(), 1)
    assert sampled.gradients is operator.gradients


def test_damping_is_added_once(pair):
    operator, matrix = pair
    rows = _rows(operator)
    damped = operator.with_damping(0.25)
    expected = rows @ matrix + 0.25 * rows
    torch.testing.assert_close(damped.apply(rows), expected, rtol=1e-9, atol=1e-11)
    assert damped.damping == 0.25


def test_a_damped_sample_is_damped_by_the_same_number(pair):
    operator, _ = pair
    rows = _rows(operator)
    damped = operator.with_damping(0.25).sample(torch.Generator().manual_seed(5), 2)
    plain = operator.sample(torch.Generator().manual_seed(5), 2)
    torch.testing.assert_close(damped.apply(rows), plain.apply(rows) + 0.25 * rows)


def test_a_sample_of_a_dense_matrix_is_the_matrix():
    operator = DenseOperator(torch.eye(3))
    assert operator.sample(torch.Generator(), 1) is operator
    assert torch.equal(operator.to_dense(), torch.eye(3))


@pytest.mark.parametrize("damping", [-1e-9, -1.0, float("nan")])
def test_a_negative_damping_is_refused(damping):
    with pytest.raises(InputError, match=r"damping: expected a number >= 0; got"):
        DampedOperator(DenseOperator(torch.eye(2)), damping)


@pytest.mark.parametrize("kind", KINDS)
def test_a_parameter_that_the_model_never_uses_has_zero_curvature(kind):
    made = case("idle")
    build, truth = KINDS[kind]
    dense = build(made.objective, made.train).to_dense()
    torch.testing.assert_close(dense, truth(made.problem))
    assert (dense[-2:] == 0).all()
