"""L2 weight decay of training, as a part of the damping."""

import pytest
import reference
import torch
from cases import case, transformer
from torch import nn

from fastif import (
    ConjugateGradient,
    CrossEntropy,
    Direct,
    Dual,
    GaussNewton,
    InputError,
    Lissa,
    ModuleObjective,
    TransformerObjective,
)


@pytest.mark.parametrize(
    "solver",
    [
        Dual(),
        Direct(),
        ConjugateGradient(tolerance=1e-10, max_steps=500),
        Lissa(depth=60, batch=128, scale=2.5, tolerance=0.1),
    ],
)
def test_a_penalty_adds_to_the_damping_of_every_solver(solver):
    made = case("mlp")
    objective = ModuleObjective(made.objective.module, made.objective.loss, penalty=0.3)
    operator = GaussNewton(objective, made.train.with_batch_size(128)).with_damping(0.2)
    assert operator.damping == operator.sample(torch.Generator(), 2).damping == 0.5
    matrix = reference.gauss_newton(made.problem)
    torch.testing.assert_close(
        operator.operator.to_dense(), matrix
    )  # the ridge is no part of the losses
    rhs = reference.gradients(made.problem)[:2]
    solution = solver.solve(operator, rhs)
    expected = rhs @ torch.linalg.inv(matrix + 0.5 * torch.eye(len(matrix), dtype=matrix.dtype))
    close = 0.1 if isinstance(solver, Lissa) else 1e-6
    assert (solution.value - expected).norm() < close * expected.norm()
    assert solution.damping == 0.5
    assert solution.converged.all()


@pytest.mark.parametrize("penalty", [-0.1, float("nan"), float("inf")])
def test_invalid_penalties_are_refused(penalty):
    with pytest.raises(InputError, match="L2 weight decay"):
        ModuleObjective(nn.Linear(2, 2), CrossEntropy(), penalty=penalty)
    with pytest.raises(InputError, match="L2 weight decay"):
        TransformerObjective(transformer("bert"), "last:1", penalty=penalty)
