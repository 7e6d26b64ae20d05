"""Kind of curvature block by layer."""

import pytest
import reference
import torch
from torch import Tensor, nn

from fastif import CrossEntropy, Ekfac, GaussNewton, ModuleObjective, TensorExamples
from tests.fastif.curvature.ekfac.fits import _case, _fit_ekfac, _places, _rows


class _Tied(nn.Module):
    """Model with its output layer tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner = nn.Embedding(6, 3), nn.Linear(3, 3)
        self.outer = nn.Linear(3, 6)
        self.outer.weight = self.table.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(self.table(inputs).mean(1))))


class _Large(nn.Module):
    """Model with an embedding of more than 1,024 parameters, and a linear layer."""

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
def test_the_kind_of_block_is_selected_layer_by_layer(name, kinds):
    assert {group.owner: group.kind for group in _fit_ekfac(name).spec.groups} == kinds


def test_a_tied_layer_gets_no_kronecker_block_and_other_layers_keep_theirs():
    curvature, problem = _make_word_case(_Tied, 6)
    ekfac, matrix = Ekfac.fit(curvature), reference.gauss_newton(problem)
    kinds = {group.owner: group.kind for group in ekfac.spec.groups}
    assert kinds == {"table": "eigen", "inner": "kronecker", "outer": "kronecker"}
    dense = ekfac.to_dense()
    for at in _places(ekfac):
        torch.testing.assert_close(dense[at, at].sum(), matrix[at, at].sum())
    tied = torch.arange(18)
    torch.testing.assert_close(dense[tied][:, tied], matrix[tied][:, tied])


def test_a_large_parameter_gets_its_exact_diagonal():
    curvature, problem = _make_word_case(_Large, 300)
    ekfac, matrix = Ekfac.fit(curvature), reference.gauss_newton(problem)
    assert [group.kind for group in ekfac.spec.groups] == ["diagonal", "kronecker"]
    table = ekfac.to_dense()[:1200, :1200]
    torch.testing.assert_close(table, matrix[:1200, :1200].diagonal().diag())
    rows = _rows(ekfac.size)
    expected = rows[:, :1200] / (matrix.diagonal()[:1200] + 0.1)
    torch.testing.assert_close(ekfac.apply_inverse(rows, 0.1)[:, :1200], expected)


def test_an_unused_layer_has_zero_curvature():
    made = _case("idle")
    objective = ModuleObjective(made.problem.module, CrossEntropy(), ["left_over"])
    ekfac = Ekfac.fit(GaussNewton(objective, made.train))
    assert (ekfac.to_dense() == 0).all()
    assert (ekfac.apply_inverse(torch.ones(1, 2).double(), 0.5) == 2).all()


class SideBySide(nn.Module):
    """Model that uses the inner weight outside of its layer, unless a row has a leading zero."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)) + x[:, :1] * self.inner.weight[0])


def test_a_weight_used_outside_of_its_layer_gets_no_kronecker_block():
    torch.manual_seed(4)
    inputs = torch.randn(9, 3).double()
    inputs[:2, 0] = 0.0  # the rows of the trial batch
    module = SideBySide().double()
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
