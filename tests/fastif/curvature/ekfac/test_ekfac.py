"""EK-FAC against dense Gauss-Newton matrices, and against another library."""

import random
from dataclasses import replace
from functools import cache, reduce
from operator import add

import pytest
import reference
import torch
from cases import NAMES, Case, case
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
    all_ids,
)
from fastif.curvature.ekfac.accumulators import EkfacSums
from fastif.curvature.ekfac.kronecker import KroneckerBlock


def _case(name: str) -> Case:
    return case(name, 5 if name == "bert" else 9)


def _curvature(name: str, batch_size: int = 4) -> GaussNewton:
    made = _case(name)
    return GaussNewton(made.objective, made.train.with_batch_size(batch_size))


@cache
def _fit_ekfac(name: str) -> Ekfac:
    return Ekfac.fit(_curvature(name))


@cache
def _truth(name: str) -> Tensor:
    return reference.gauss_newton(_case(name).problem)


def _rows(size: int, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def _places(ekfac: Ekfac) -> list[Tensor]:
    """The positions of each block's parameters in a row."""
    at = torch.arange(ekfac.size)
    space = ekfac.spec.space
    return [torch.cat([at[s] for s in space.select_slices(g.names)]) for g in ekfac.spec.groups]


# What holds on every kind of model.


@pytest.fixture(params=NAMES)
def both(request):
    """A fitted EK-FAC and the dense Gauss-Newton matrix."""
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
    """Eigenvectors of the block as columns, over [weight, bias] as they stand in a row."""
    product = torch.kron(block.outputs, block.inputs)
    grid = torch.arange(block.eigenvalue_grid.numel()).view(block.eigenvalue_grid.shape)
    width = len(block.inputs) - (block.bias is not None)
    return product[torch.cat([grid[:, :width].flatten(), grid[:, width:].flatten()])]


def test_there_is_nothing_between_the_blocks(both):
    ekfac, _ = both
    dense = ekfac.to_dense()
    for at in _places(ekfac):
        dense[at[:, None], at] = 0
    assert (dense == 0).all()


def test_it_is_symmetric_positive_semi_definite_and_knows_its_eigenvalues(both):
    ekfac, _ = both
    dense = ekfac.to_dense()
    torch.testing.assert_close(dense, dense.T, rtol=1e-9, atol=1e-12)
    values = torch.linalg.eigvalsh(dense)
    assert (ekfac.eigenvalues >= 0).all()
    torch.testing.assert_close(ekfac.eigenvalues.sort().values, values, rtol=1e-9, atol=1e-11)


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


@pytest.mark.parametrize("damping", [1e-3, 0.03, 1.0, 30.0])
@pytest.mark.parametrize("negligible", [1e-3, 0.1, 0.9])
def test_what_is_negligible_changes_an_answer_by_no_more(both, damping, negligible):
    ekfac, _ = both
    rows = _rows(ekfac.size)
    exact = ekfac.apply_inverse(rows, damping, 0.0)
    actual = ekfac.apply_inverse(rows, damping, negligible)
    assert ((actual - exact).norm(dim=1) <= negligible * exact.norm(dim=1)).all()


def test_products_are_linear_and_leave_their_rows_alone(both):
    ekfac, _ = both
    a, b = _rows(ekfac.size, 4).split(2)
    kept = a.clone()
    for take in (ekfac.apply, lambda rows: ekfac.apply_inverse(rows, 0.1)):
        torch.testing.assert_close(take(2 * a - 3 * b), 2 * take(a) - 3 * take(b))
    assert torch.equal(a, kept)


def test_the_inverse_stays_symmetric_and_positive_definite_whatever_is_negligible(both):
    """Else it could not precondition conjugate gradients."""
    ekfac, _ = both
    inverse = ekfac.apply_inverse(torch.eye(ekfac.size, dtype=torch.float64), 0.1, 0.5)
    torch.testing.assert_close(inverse, inverse.T, rtol=1e-9, atol=1e-12)
    assert torch.linalg.eigvalsh(inverse).min() > 0


def test_a_state_brings_back_the_same_matrix(both):
    ekfac, _ = both
    again = Ekfac.from_state_dict(load(save(ekfac.state_dict())), ekfac.spec.space, ekfac.like)
    assert again.spec == ekfac.spec
    rows = _rows(ekfac.size)
    assert torch.equal(again.apply(rows), ekfac.apply(rows))
    assert torch.equal(again.apply_inverse(rows, 0.1), ekfac.apply_inverse(rows, 0.1))


# What must not change it.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_the_batch_size_changes_nothing(name, batch_size):
    """Padding differs between batches, and is no position of a text."""
    other = Ekfac.fit(_curvature(name, batch_size))
    torch.testing.assert_close(other.to_dense(), _fit_ekfac(name).to_dense(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_in_pieces_is_the_fit_at_once(name):
    whole = _curvature(name)
    for seed in (0, 1):
        order = torch.randperm(whole.count, generator=torch.Generator().manual_seed(seed))
        cuts = (order[:1], order[1:4], order[4:])
        sizes = (3, 2, 7)
        pieces = [
            replace(whole, ids=cut, examples=whole.examples.with_batch_size(size))
            for cut, size in zip(cuts, sizes, strict=True)
        ]
        kfac = Ekfac.from_covariances(
            reduce(add, map(Ekfac.accumulate_covariances, pieces)), whole.like
        )
        random.Random(seed).shuffle(pieces)
        ekfac = kfac.apply_corrections(reduce(add, map(kfac.accumulate_corrections, pieces)))
        torch.testing.assert_close(
            ekfac.to_dense(), _fit_ekfac(name).to_dense(), rtol=1e-7, atol=1e-9
        )


def test_sums_can_be_kept_between_pieces():
    whole = _curvature("mlp")
    sums = Ekfac.accumulate_covariances(whole)
    again = EkfacSums.from_state_dict(load(save(sums.state_dict())))
    twice = sums + again
    assert twice.tensors["count"] == 18
    torch.testing.assert_close(
        Ekfac.from_covariances(twice, whole.like).to_dense(),
        Ekfac.from_covariances(sums, whole.like).to_dense(),
    )


def test_sums_that_do_not_belong_together_are_refused():
    whole = _curvature("mlp")
    sums = Ekfac.accumulate_covariances(whole)
    for other in (
        Ekfac.accumulate_covariances(whole, labels="sampled"),
        Ekfac.accumulate_covariances(_curvature("softmax")),
        Ekfac.from_covariances(sums, whole.like).accumulate_corrections(whole),
    ):
        with pytest.raises(InputError, match="EK-FAC sums: expected pieces of one pass"):
            sums + other


# Where it is exact, and what its factors are.


@pytest.mark.parametrize("name", ["linear", "two-outputs", "outside"])
def test_it_is_the_gauss_newton_matrix_where_that_is_a_kronecker_product(name):
    torch.testing.assert_close(_fit_ekfac(name).to_dense(), _truth(name))


@pytest.mark.parametrize("name", ["mlp", "layernorm", "bert"])
def test_it_is_not_the_gauss_newton_matrix_elsewhere_and_better_than_kfac(name):
    """Else the tests above could not tell a correction that was forgotten."""
    whole, truth = _curvature(name), _truth(name)
    kfac = Ekfac.from_covariances(Ekfac.accumulate_covariances(whole), whole.like)
    error = [
        (matrix.to_dense() - truth).norm() / truth.norm() for matrix in (_fit_ekfac(name), kfac)
    ]
    assert 0.05 < error[0] < error[1]


def test_the_factors_are_means_over_examples_of_products():
    """A single layer: K-FAC is G ⊗ A, both written down by hand."""
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
    module, inputs, targets, theirs = load_peer(peer)
    squared = peer.loss == "squared"
    names = [f"^{name}$" for name in peer.names]
    objective = ModuleObjective(module, SquaredError() if squared else CrossEntropy(), names)
    assert objective.space.names == peer.names
    curvature = GaussNewton(objective, TensorExamples(inputs, targets, batch_size=3))
    kfac = Ekfac.from_covariances(Ekfac.accumulate_covariances(curvature), curvature.like)
    ours = {"ggn": curvature, "kfac": kfac, "ekfac": Ekfac.fit(curvature)}
    scale = 3 if squared else 1  # its mean over outputs is a third of our sum
    for name, operator in ours.items():
        actual = operator.apply(theirs["rows"])
        torch.testing.assert_close(actual, scale * theirs[name], rtol=1e-9, atol=1e-12)


# Sampled columns.


def test_sampled_columns_converge_to_the_exact_expectation():
    """Within five standard errors, entry by entry, of a mean over 100 seeds."""
    whole = _curvature("mlp")
    kfac = Ekfac.from_covariances(Ekfac.accumulate_covariances(whole), whole.like)
    grids = []
    for seed in range(100):
        sampled = replace(kfac, spec=replace(kfac.spec, sampled=True, seed=seed))
        grids.append(
            torch.cat([b.eigenvalue_grid.flatten() for b in _correct(sampled, whole).blocks])
        )
    stacked = torch.stack(grids)
    exact = torch.cat([block.eigenvalue_grid.flatten() for block in _correct(kfac, whole).blocks])
    error = stacked.std(0) / 100**0.5
    assert (error > 0).sum() > len(error) / 2
    assert ((stacked.mean(0) - exact).abs() <= 5 * error + 1e-12).all()


def _correct(kfac: Ekfac, curvature: GaussNewton) -> Ekfac:
    return kfac.apply_corrections(kfac.accumulate_corrections(curvature))


@pytest.mark.parametrize("name", ["mlp", "outside", "embedding", "bert"])
def test_what_is_sampled_depends_on_the_seed_and_not_on_batches(name):
    ekfac = Ekfac.fit(_curvature(name, 4), labels="sampled", seed=3)
    whole = _curvature(name)
    examples = whole.examples.with_batch_size(2)
    turned = replace(whole, ids=all_ids(examples).flip(0), examples=examples)
    same = Ekfac.fit(turned, labels="sampled", seed=3)
    torch.testing.assert_close(ekfac.to_dense(), same.to_dense(), rtol=1e-7, atol=1e-9)
    other = Ekfac.fit(_curvature(name, 4), labels="sampled", seed=4)
    assert (ekfac.to_dense() - other.to_dense()).abs().max() > 1e-4 * ekfac.to_dense().abs().max()


def test_two_classes_are_exact_even_when_sampled():
    whole = _curvature("layernorm")
    torch.testing.assert_close(
        Ekfac.fit(whole, labels="sampled").to_dense(), _fit_ekfac("layernorm").to_dense()
    )


@pytest.mark.parametrize(("classes", "sampled"), [(11, False), (12, True)])
def test_auto_samples_above_ten_columns(classes, sampled):
    examples = TensorExamples(torch.randn(4, 3), torch.arange(4))
    curvature = GaussNewton(ModuleObjective(nn.Linear(3, classes), CrossEntropy()), examples)
    assert Ekfac.fit(curvature).spec.sampled is sampled
    assert not Ekfac.fit(curvature, labels="exact").spec.sampled


# Which block for which layer.


class _Tied(nn.Module):
    """The output layer is the table of the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner = nn.Embedding(6, 3), nn.Linear(3, 3)
        self.outer = nn.Linear(3, 6)
        self.outer.weight = self.table.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(self.table(inputs).mean(1))))


class _Large(nn.Module):
    """An embedding of more than 1,024 numbers, beside a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.outer = nn.Embedding(300, 4), nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.table(inputs).mean(1)))


def _make_word_case(build: type[nn.Module], words: int) -> tuple[GaussNewton, reference.Problem]:
    torch.manual_seed(2)
    module = build().double()
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randint(words, (5, 4), generator=generator)
    labels = torch.randint(2, (5,), generator=generator)
    names = [name for name, _ in module.named_parameters()]
    problem = reference.Problem(
        module, names, list(inputs.split(1)), list(labels.split(1)), reference.cross_entropy
    )
    objective = ModuleObjective(module, CrossEntropy())
    return GaussNewton(objective, TensorExamples(inputs, labels, batch_size=2)), problem


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("conv", {"0": "eigen", "4": "kronecker"}),
        ("layernorm", {"inner": "kronecker", "norm": "eigen", "outer": "kronecker"}),
        ("embedding", {"table": "eigen", "outer": "kronecker"}),
        ("twice", {"inner": "kronecker", "outer": "kronecker"}),
        ("outside", {"inner": "eigen"}),
        ("shared-table", {"inner": "kronecker", "table": "eigen"}),
        ("bare", {"": "eigen", "inner": "kronecker"}),
        ("idle", {"inner": "kronecker", "left_over": "kronecker"}),
    ],
)
def test_each_layer_is_decided_on_its_own(name, kinds):
    assert {group.owner: group.kind for group in _fit_ekfac(name).spec.groups} == kinds


def test_a_tied_layer_is_no_kronecker_block_and_spoils_no_other():
    curvature, problem = _make_word_case(_Tied, 6)
    ekfac, matrix = Ekfac.fit(curvature), reference.gauss_newton(problem)
    kinds = {group.owner: group.kind for group in ekfac.spec.groups}
    assert kinds == {"table": "eigen", "inner": "kronecker", "outer": "kronecker"}
    dense = ekfac.to_dense()
    for at in _places(ekfac):
        torch.testing.assert_close(dense[at, at].sum(), matrix[at, at].sum())
    tied = torch.arange(18)
    torch.testing.assert_close(dense[tied][:, tied], matrix[tied][:, tied])


def test_what_is_too_large_for_anything_better_gets_its_exact_diagonal():
    curvature, problem = _make_word_case(_Large, 300)
    ekfac, matrix = Ekfac.fit(curvature), reference.gauss_newton(problem)
    assert [group.kind for group in ekfac.spec.groups] == ["diagonal", "kronecker"]
    table = ekfac.to_dense()[:1200, :1200]
    torch.testing.assert_close(table, matrix[:1200, :1200].diagonal().diag())
    rows = _rows(ekfac.size)
    expected = rows[:, :1200] / (matrix.diagonal()[:1200] + 0.1)
    torch.testing.assert_close(ekfac.apply_inverse(rows, 0.1)[:, :1200], expected)


def test_a_layer_that_the_model_never_uses_has_no_curvature():
    made = _case("idle")
    objective = ModuleObjective(made.problem.module, CrossEntropy(), ["left_over"])
    ekfac = Ekfac.fit(GaussNewton(objective, made.train))
    assert (ekfac.to_dense() == 0).all()
    assert (ekfac.apply_inverse(torch.ones(1, 2).double(), 0.5) == 2).all()


# Types, records, refusals.


def _make_single_precision() -> GaussNewton:
    torch.manual_seed(0)
    examples = TensorExamples(torch.randn(20, 5), torch.randint(3, (20,)))
    module = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 3))
    return GaussNewton(ModuleObjective(module, CrossEntropy()), examples)


def test_single_precision_stays_single_and_is_right_to_its_digits():
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


def test_the_sums_of_single_precision_are_double():
    assert all(
        t.dtype == torch.float64
        for t in Ekfac.accumulate_covariances(_make_single_precision()).tensors.values()
    )


def test_a_state_of_other_parameters_is_refused():
    state, space = _fit_ekfac("mlp").state_dict(), _fit_ekfac("softmax").spec.space
    with pytest.raises(InputError, match=r"EK-FAC factor: expected one fitted for the 15 .*Fit"):
        Ekfac.from_state_dict(state, space, torch.empty(0))
    renamed = replace(_fit_ekfac("mlp").spec.space, names=("a", "b", "c", "d"))
    with pytest.raises(InputError, match=r"EK-FAC factor: .*got one of the 31 parameters 0.weight"):
        Ekfac.from_state_dict(state, renamed, torch.empty(0))


@pytest.mark.parametrize(
    ("damping", "negligible"), [(0.0, 0.1), (-1.0, 0.1), (float("nan"), 0.1), (1.0, 1.0), (1.0, -1)]
)
def test_a_damping_that_makes_no_sense_is_refused(damping, negligible):
    with pytest.raises(InputError, match="EK-FAC: expected a damping > 0 and 0 <= negligible < 1"):
        _fit_ekfac("linear").apply_inverse(torch.ones(1, 4).double(), damping, float(negligible))


@pytest.mark.parametrize("place", [0, 1, 5])
@pytest.mark.parametrize("name", ["mlp", "layernorm", "outside"])
def test_a_broken_example_counts_as_zero_as_in_the_gauss_newton_matrix(name, place):
    made = _case(name)
    points = made.train.inputs.clone()
    points[place].flatten()[0] = torch.nan
    broken = GaussNewton(made.objective, TensorExamples(points, made.train.labels, batch_size=4))
    others = torch.cat([torch.arange(place), torch.arange(place + 1, 9)])
    sound = GaussNewton(made.objective, made.train.with_batch_size(4), others)
    torch.testing.assert_close(broken.to_dense(), sound.to_dense() * 8 / 9)
    torch.testing.assert_close(Ekfac.fit(broken).to_dense(), Ekfac.fit(sound).to_dense() * 8 / 9)


def test_training_rows_that_are_all_broken_are_refused():
    examples = TensorExamples(torch.full((3, 2), torch.nan), torch.zeros(3, 1))
    curvature = GaussNewton(ModuleObjective(nn.Linear(2, 1), SquaredError()), examples)
    with pytest.raises(InputError, match="EK-FAC: expected at least one training example of fin"):
        Ekfac.fit(curvature)


def test_a_curvature_over_no_examples_is_refused():
    with pytest.raises(InputError, match="EK-FAC: expected at least one training example"):
        Ekfac.fit(replace(_curvature("mlp"), ids=torch.arange(0)))


def test_the_ridge_of_training_is_in_the_damping_and_in_no_block():
    made = _case("mlp")
    objective = ModuleObjective(made.objective.module, CrossEntropy(), penalty=0.25)
    ekfac = Ekfac.fit(GaussNewton(objective, made.train))
    torch.testing.assert_close(ekfac.to_dense(), _fit_ekfac("mlp").to_dense())
    assert ekfac.with_damping(0.5).damping == 0.75
    again = Ekfac.from_state_dict(ekfac.state_dict(), objective.space, ekfac.like)
    assert again.ridge == 0.25


class Beside(nn.Module):
    """The inner layer's weight acts beside it, but not on rows that begin with zero."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)) + x[:, :1] * self.inner.weight[0])


def test_a_weight_that_acts_beside_its_layer_makes_no_kronecker_block_though_few_rows_show_it():
    torch.manual_seed(4)
    inputs = torch.randn(9, 3).double()
    inputs[:2, 0] = 0.0  # the rows that blocks are chosen by
    module = Beside().double()
    examples = TensorExamples(inputs, torch.arange(9) % 3)
    curvature = GaussNewton(ModuleObjective(module, CrossEntropy()), examples)
    problem = reference.Problem(
        module,
        [name for name, _ in module.named_parameters()],
        list(inputs.split(1)),
        list(examples.labels.split(1)),
        reference.cross_entropy,
    )
    trace = reference.gauss_newton(problem).trace()
    torch.testing.assert_close(Ekfac.fit(curvature).eigenvalues.sum(), trace)
