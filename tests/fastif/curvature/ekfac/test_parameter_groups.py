"""Which block for which layer."""

import pytest
import reference
import torch
from torch import Tensor, nn

from fastif import CrossEntropy, Ekfac, GaussNewton, ModuleObjective, TensorExamples
from tests.fastif.curvature.ekfac.fits import _case, _fit_ekfac, _places, _rows


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
