"""L-BFGS against minima in closed form."""

import torch

from fastif.numerics.optimize import minimize_lbfgs


def test_the_minimum_of_a_quadratic_over_several_tensors():
    generator = torch.Generator().manual_seed(3)
    factor = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix = factor @ factor.T + torch.eye(6, dtype=torch.float64)
    linear = torch.randn(6, generator=generator, dtype=torch.float64)
    parts = [torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in (4, 2)]

    def loss() -> torch.Tensor:
        x = torch.cat(parts)
        return 0.5 * x @ matrix @ x - linear @ x

    minimize_lbfgs(loss, parts, max_iter=200, tolerance_grad=1e-12, tolerance_change=0.0)
    torch.testing.assert_close(torch.cat(parts).detach(), torch.linalg.solve(matrix, linear))


def test_max_iter_is_respected():
    x = torch.tensor([3.0, -2.0], requires_grad=True)
    minimize_lbfgs(lambda: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2, [x], max_iter=1)
    assert (x.detach() - 1).abs().max() > 0.1
