"""EK-FAC, compared with dense Gauss-Newton matrices and with curvlinops."""

from dataclasses import replace

import pytest
import torch
from cases import NAMES
from curvlinops_values import PEERS, load_peer
from safetensors.torch import load, save
from torch import Tensor, nn

from fastif import (
    CrossEntropy,
    Ekfac,
    GaussNewton,
    InputError,
    ModuleObjective,
    SquaredError,
    TensorExamples,
)
from fastif.curvature.ekfac.kronecker import KroneckerBlock
from tests.fastif.curvature.ekfac.fits import _case, _curvature, _fit_ekfac, _places, _rows, _truth

# Properties on all kinds of models.


@pytest.fixture(params=NAMES)
def both(request):
    """Return an EK-FAC fit and the dense Gauss-Newton matrix."""
    return _fit_ekfac(request.param), _truth(request.param)


def test_every_parameter_is_in_exactly_one_block(both):
    ekfac, matrix = both
    assert torch.equal(torch.cat(_places(ekfac)).sort().values, torch.arange(len(matrix)))


def test_every_block_has_the_trace_of_the_gauss_newton_matrix(both):
    ekfac, matrix = both
    dense = ekfac.to_dense()
    assert matrix.trace() > 1e-3
    for block, at in zip(ekfac.blocks, _places(ekfac), strict=True):
        truth = matrix[at, at].sum()
        torch.testing.assert_close(dense[at, at].sum(), truth)
        torch.testing.assert_close(block.eigenvalues.sum(), truth)


def test_the_eigenvalues_are_the_diagonal_of_the_gauss_newton_matrix_in_the_eigenbasis(both):
    ekfac, matrix = both
    for block, at in zip(ekfac.blocks, _places(ekfac), strict=True):
        if isinstance(block, KroneckerBlock):
            basis = _basis(block)
            truth = (basis.T @ matrix[at][:, at] @ basis).diagonal()
            torch.testing.assert_close(
                block.eigenvalue_grid.flatten(), truth, rtol=1e-9, atol=1e-12
            )
        else:
            torch.testing.assert_close(ekfac.to_dense()[at][:, at], matrix[at][:, at])


def _basis(block: KroneckerBlock) -> Tensor:
    """Return the eigenvectors of a block as columns, in the order of a vector."""
    product = torch.kron(block.outputs, block.inputs)
    grid = torch.arange(block.eigenvalue_grid.numel()).view(block.eigenvalue_grid.shape)
    width = len(block.inputs) - (block.bias is not None)
    return product[torch.cat([grid[:, :width].flatten(), grid[:, width:].flatten()])]


def test_entries_between_blocks_are_zero(both):
    ekfac, _ = both
    dense = ekfac.to_dense()
    for at in _places(ekfac):
        dense[at[:, None], at] = 0
    assert (dense == 0).all()


def test_ekfac_is_symmetric_positive_semi_definite_with_the_reported_eigenvalues(both):
    ekfac, _ = both
    dense = ekfac.to_dense()
    torch.testing.assert_close(dense, dense.T, rtol=1e-9, atol=1e-12)
    values = torch.linalg.eigvalsh(dense)
    assert (ekfac.eigenvalues >= 0).all()
    torch.testing.assert_close(ekfac.eigenvalues.sort().values, values, rtol=1e-9, atol=1e-11)


@pytest.mark.default_cases
@pytest.mark.parametrize("damping", [1e-3, 0.1, 10.0])
def test_the_inverse_is_the_dense_inverse(both, damping):
    ekfac, _ = both
    rows = _rows(ekfac.size)
    matrix = ekfac.to_dense() + damping * torch.eye(ekfac.size, dtype=torch.float64)
    exact = rows @ torch.linalg.inv(matrix)
    actual = ekfac.apply_inverse(rows, damping, negligible=0.0)
    torch.testing.assert_close(actual, exact, rtol=1e-8, atol=1e-8)
    damped = ekfac.with_damping(damping)
    torch.testing.assert_close(damped.apply(actual), rows, rtol=1e-8, atol=1e-8)


@pytest.mark.default_cases
@pytest.mark.parametrize("damping", [1e-3, 0.03, 1.0, 30.0])
@pytest.mark.parametrize("negligible", [1e-3, 0.1, 0.9])
def test_the_relative_error_is_at_most_negligible(both, damping, negligible):
    ekfac, _ = both
    rows = _rows(ekfac.size)
    exact = ekfac.apply_inverse(rows, damping, 0.0)
    actual = ekfac.apply_inverse(rows, damping, negligible)
    assert ((actual - exact).norm(dim=1) <= negligible * exact.norm(dim=1)).all()


def test_products_are_linear_and_do_not_change_their_vectors(both):
    ekfac, _ = both
    a, b = _rows(ekfac.size, 4).split(2)
    kept = a.clone()
    for take in (ekfac.apply, lambda rows: ekfac.apply_inverse(rows, 0.1)):
        torch.testing.assert_close(take(2 * a - 3 * b), 2 * take(a) - 3 * take(b))
    assert torch.equal(a, kept)


def test_the_truncated_inverse_is_symmetric_and_positive_definite(both):
    """Conjugate gradients need this of a preconditioner."""
    ekfac, _ = both
    inverse = ekfac.apply_inverse(torch.eye(ekfac.size, dtype=torch.float64), 0.1, 0.5)
    torch.testing.assert_close(inverse, inverse.T, rtol=1e-9, atol=1e-12)
    assert torch.linalg.eigvalsh(inverse).min() > 0


def test_a_state_dict_restores_the_matrix(both):
    ekfac, _ = both
    again = Ekfac.from_state_dict(load(save(ekfac.state_dict())), ekfac.spec.space, ekfac.like)
    assert again.spec == ekfac.spec
    rows = _rows(ekfac.size)
    assert torch.equal(again.apply(rows), ekfac.apply(rows))
    assert torch.equal(again.apply_inverse(rows, 0.1), ekfac.apply_inverse(rows, 0.1))


# Cases in which EK-FAC is exact, and its factors.


@pytest.mark.parametrize("name", ["linear", "two-outputs", "outside"])
def test_ekfac_is_exact_if_the_gauss_newton_matrix_is_a_kronecker_product(name):
    torch.testing.assert_close(_fit_ekfac(name).to_dense(), _truth(name))


@pytest.mark.parametrize("name", ["mlp", "layernorm", "bert"])
def test_ekfac_is_an_approximation_otherwise_and_closer_than_kfac(name):
    """Otherwise the tests above could not detect a missing eigenvalue correction."""
    whole, truth = _curvature(name), _truth(name)
    kfac = Ekfac.from_covariances(Ekfac.accumulate_covariances(whole), whole.like)
    error = [
        (matrix.to_dense() - truth).norm() / truth.norm() for matrix in (_fit_ekfac(name), kfac)
    ]
    assert 0.05 < error[0] < error[1]


def test_kronecker_factors_are_second_moments_over_examples():
    """K-FAC of a single layer is G ⊗ A, with both factors computed by hand."""
    made = _case("softmax")
    module, points = made.objective.module, torch.cat(made.problem.inputs)
    ones = torch.cat([points, torch.ones(9, 1, dtype=torch.float64)], 1)
    chance = torch.softmax(module(points), 1).detach()
    A = sum(torch.outer(a, a) for a in ones) / 9
    G = sum(torch.diag(p) - torch.outer(p, p) for p in chance) / 9
    whole = _curvature("softmax")
    kfac = Ekfac.from_covariances(Ekfac.accumulate_covariances(whole), whole.like)
    block = kfac.blocks[0]
    for vectors, factor in ((block.inputs, A), (block.outputs, G)):
        turned = vectors.T @ factor @ vectors
        torch.testing.assert_close(turned, turned.diagonal().diag(), rtol=1e-9, atol=1e-12)
    grid = torch.arange(15).view(3, 5)
    order = torch.cat([grid[:, :4].flatten(), grid[:, 4]])
    torch.testing.assert_close(kfac.to_dense(), torch.kron(G, A)[order][:, order])


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.key)
def test_it_equals_curvlinops(peer):
    module, inputs, targets, expected = load_peer(peer)
    squared = peer.loss == "squared"
    names = [f"^{name}$" for name in peer.names]
    objective = ModuleObjective(module, SquaredError() if squared else CrossEntropy(), names)
    assert objective.space.names == peer.names
    curvature = GaussNewton(objective, TensorExamples(inputs, targets, batch_size=3))
    kfac = Ekfac.from_covariances(Ekfac.accumulate_covariances(curvature), curvature.like)
    operators = {"ggn": curvature, "kfac": kfac, "ekfac": Ekfac.fit(curvature)}
    scale = 3 if squared else 1  # it averages over 3 outputs where fastif sums
    for name, operator in operators.items():
        actual = operator.apply(expected["rows"])
        torch.testing.assert_close(actual, scale * expected[name], rtol=1e-9, atol=1e-12)


# Precision, state, refusals.


def _make_single_precision() -> GaussNewton:
    torch.manual_seed(0)
    examples = TensorExamples(torch.randn(20, 5), torch.randint(3, (20,)))
    module = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 3))
    return GaussNewton(ModuleObjective(module, CrossEntropy()), examples)


def test_single_precision_is_kept_and_accurate():
    single = _make_single_precision()
    double = GaussNewton(
        ModuleObjective(single.objective.module.double(), CrossEntropy()),
        TensorExamples(single.examples.inputs.double(), single.examples.labels),
    )
    torch.manual_seed(0)
    single = _make_single_precision()
    ekfac, truth = Ekfac.fit(single), Ekfac.fit(double)
    state = ekfac.state_dict()
    assert all(t.dtype == torch.float32 for name, t in state.items() if name != "scheme")
    rows = _rows(ekfac.size)
    actual = ekfac.apply_inverse(rows.float(), 0.01, 0.0)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(
        actual.double(), truth.apply_inverse(rows, 0.01, 0.0), rtol=1e-3, atol=1e-3
    )


def test_sums_are_in_double_precision():
    assert all(
        t.dtype == torch.float64
        for t in Ekfac.accumulate_covariances(_make_single_precision()).tensors.values()
    )


def test_a_state_of_other_parameters_is_refused():
    state, space = _fit_ekfac("mlp").state_dict(), _fit_ekfac("softmax").spec.space
    with pytest.raises(InputError, match=r"EK-FAC factor: expected a fit for the 15 .*Fit"):
        Ekfac.from_state_dict(state, space, torch.empty(0))
    renamed = replace(_fit_ekfac("mlp").spec.space, names=("a", "b", "c", "d"))
    with pytest.raises(InputError, match=r"EK-FAC factor: .*got a fit for 31 parameters 0.weight"):
        Ekfac.from_state_dict(state, renamed, torch.empty(0))


@pytest.mark.parametrize(
    ("damping", "negligible"), [(0.0, 0.1), (-1.0, 0.1), (float("nan"), 0.1), (1.0, 1.0), (1.0, -1)]
)
def test_an_invalid_damping_is_refused(damping, negligible):
    with pytest.raises(InputError, match="EK-FAC: expected a damping > 0 and 0 <= negligible < 1"):
        _fit_ekfac("linear").apply_inverse(torch.ones(1, 4).double(), damping, float(negligible))


def test_weight_decay_of_training_is_in_the_damping_and_in_no_block():
    made = _case("mlp")
    objective = ModuleObjective(made.objective.module, CrossEntropy(), penalty=0.25)
    ekfac = Ekfac.fit(GaussNewton(objective, made.train))
    torch.testing.assert_close(ekfac.to_dense(), _fit_ekfac("mlp").to_dense())
    assert ekfac.with_damping(0.5).damping == 0.75
    again = Ekfac.from_state_dict(ekfac.state_dict(), objective.space, ekfac.like)
    assert again.ridge == 0.25
