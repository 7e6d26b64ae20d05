"""Per-example gradients, compared with a loop of separate backward passes."""

import pytest
import reference
import torch
from cases import NAMES, case
from small_modules import Outside
from torch import nn

from fastif import CrossEntropy, GaussNewton, Gradients, ModuleObjective, TensorExamples, all_ids
from fastif.gradients.per_example import compute_loss_gradients


@pytest.fixture(params=NAMES, scope="module")
def made(request):
    return case(request.param)


def test_gradients_equal_a_loop_of_backward_passes(made):
    actual = compute_loss_gradients(Gradients(made.objective), made.train.with_batch_size(4))
    torch.testing.assert_close(actual, reference.gradients(made.problem), rtol=1e-9, atol=1e-12)


WAYS = [(name, True) for name in NAMES]
WAYS += [(name, False) for name in NAMES if case(name).uses_hooks]


@pytest.mark.default_cases
@pytest.mark.parametrize(("name", "one_by_one"), WAYS)
def test_both_routes_give_equal_gradients(name, one_by_one):
    made = case(name)
    gradients = Gradients(made.objective)
    gradients.per_example_backward = one_by_one
    actual = compute_loss_gradients(gradients, made.train.with_batch_size(3))
    torch.testing.assert_close(actual, reference.gradients(made.problem), rtol=1e-9, atol=1e-12)


@pytest.mark.default_cases
@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_gradients_do_not_depend_on_the_batch(made, batch_size):
    ids = torch.tensor([7, 0, 3, 3])
    actual = compute_loss_gradients(
        Gradients(made.objective), made.train.with_batch_size(batch_size), ids
    )
    expected = reference.gradients(made.problem)[ids]
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.default_cases
@pytest.mark.parametrize("first", [1, 2, 9])
def test_separate_backward_passes_are_used_only_if_hooks_are_wrong(made, first):
    """For a first tile of one example, two or more."""
    gradients = Gradients(made.objective)
    gradients.compute_loss_tile(made.train.take(torch.arange(first)))
    assert gradients.per_example_backward is not made.uses_hooks


def test_outer_products_of_factor_rows_sum_to_the_gauss_newton_matrix(made):
    tiles = Gradients(made.objective).compute_sqrt_hessian_tiles(
        made.train.take(all_ids(made.train))
    )
    rows = torch.cat([tile.gradients.clone() for tile in tiles])
    expected = len(made.problem) * reference.gauss_newton(made.problem)
    torch.testing.assert_close(rows.T @ rows, expected, rtol=1e-9, atol=1e-11)


def test_softmax_has_one_factor_row_less_than_classes():
    for name, columns in {"layernorm": 1, "softmax": 2, "linear": 1, "two-outputs": 2}.items():
        made = case(name)
        tiles = Gradients(made.objective).compute_sqrt_hessian_tiles(
            made.train.take(torch.arange(4))
        )
        assert [len(tile) for tile in tiles] == [4] * columns


def test_products_with_a_tile():
    made = case("mlp")
    tile = Gradients(made.objective).compute_loss_tile(made.train.take(torch.arange(5)))
    matrix = tile.gradients.clone()
    rows = torch.randn(3, matrix.shape[1], dtype=torch.float64)
    weights = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(tile.dot(rows), rows @ matrix.T)
    sums = rows.clone()
    tile.accumulate(sums, weights)
    torch.testing.assert_close(sums, rows + weights @ matrix)


def test_a_gradient_has_the_attributed_parameters_in_the_order_of_the_space():
    made = case("mlp")
    objective = ModuleObjective(made.problem.module, CrossEntropy(), [r"2\.weight", r"0\.bias"])
    assert objective.space.names == ("0.bias", "2.weight")
    actual = compute_loss_gradients(Gradients(objective), made.train.with_batch_size(4))
    whole = reference.gradients(made.problem)  # 0.weight, 0.bias, 2.weight, 2.bias
    torch.testing.assert_close(actual, torch.cat([whole[:, 12:16], whole[:, 16:28]], 1))


def test_gradients_have_the_dtype_of_the_model():
    objective = ModuleObjective(nn.Linear(2, 2), CrossEntropy())
    examples = TensorExamples(torch.randn(3, 2), torch.tensor([0, 1, 1]))
    actual = compute_loss_gradients(Gradients(objective), examples.with_batch_size(2))
    assert actual.dtype == torch.float32


def test_the_model_of_the_caller_is_unchanged():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).train()
    module[0].bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    objective = ModuleObjective(module, CrossEntropy())
    examples = TensorExamples(torch.randn(4, 3), torch.tensor([0, 1, 1, 0]))
    GaussNewton(objective, examples).to_dense()
    assert module.training
    assert module[1].inplace
    assert [p.requires_grad for p in module.parameters()] == [True, False, True, True]
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert not any(layer._forward_hooks for layer in module.modules())


def test_a_use_outside_of_the_layer_is_detected_even_if_the_first_examples_hide_it():
    """Zero inputs have no gradient through the first use; such a check must not be decisive."""
    torch.manual_seed(0)
    module = Outside().double()
    module.inner.bias.data.zero_()
    inputs = torch.cat([torch.zeros(2, 3), torch.randn(4, 3)]).double()
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    examples = TensorExamples(inputs, labels)
    actual = compute_loss_gradients(
        Gradients(ModuleObjective(module, CrossEntropy())), examples.with_batch_size(3)
    )
    problem = reference.Problem(
        module,
        [name for name, _ in module.named_parameters()],
        list(inputs.split(1)),
        list(labels.split(1)),
        reference.cross_entropy,
    )
    torch.testing.assert_close(actual, reference.gradients(problem))
