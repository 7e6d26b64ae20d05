"""Direct solver: exact solutions and refusals."""

import pytest
import torch
from systems import problem, random_rows

from fastif import Direct, GaussNewton, InputError, ModuleObjective, SquaredError, TensorExamples
from fastif.curvature import DenseOperator


def test_direct_refuses_too_many_parameters():
    module = torch.nn.Linear(10_001, 1, bias=False)
    examples = TensorExamples(torch.zeros(1, 10_001), torch.zeros(1, 1))
    operator = GaussNewton(ModuleObjective(module, SquaredError()), examples).with_damping(1.0)
    with pytest.raises(InputError, match=r"at most 10000 attributed parameters; got 10001.*dual"):
        Direct().solve(operator, torch.zeros(1, 10_001))


def test_direct_solves_an_indefinite_matrix_too():
    matrix = torch.diag(torch.tensor([1.0, -2.0], dtype=torch.float64))
    solution = Direct().solve(
        DenseOperator(matrix).with_damping(0.5), torch.ones(1, 2, dtype=torch.float64)
    )
    torch.testing.assert_close(solution.value[0], torch.tensor([1 / 1.5, -1 / 1.5]).double())


def test_a_factor_of_another_damping_gives_a_large_residual():
    operator, _ = problem()
    factor = Direct().factor(operator)
    other = operator.operator.with_damping(1.0)
    assert not Direct().solve(other, random_rows(operator.size), factor).converged.any()


def test_direct_refuses_a_singular_matrix():
    operator = DenseOperator(torch.zeros(2, 2)).with_damping(0.0)
    with pytest.raises(InputError, match="damping"):
        Direct().solve(operator, torch.ones(1, 2))
