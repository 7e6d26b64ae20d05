"""Conjugate gradients on all rows at once."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import Damped
from fastif.solvers.solver import (
    Factor,
    Solution,
    Solver,
    check_positive,
    measured_residual,
    relative,
)


@dataclass(frozen=True)
class ConjugateGradient(Solver):
    """Conjugate gradients (Hestenes and Stiefel, 1952) for a positive definite operator.

    All rows share each sweep of products; a row that has converged stands still. A row along which
    the operator turns out not to be positive definite (a Hessian with too little damping) stops
    where it is and is reported as not converged.

    Args:
        tolerance: relative residual at which a row has converged.
        max_steps: products with the operator, at most.

    >>> from fastif.curvature import Dense
    >>> operator = Dense(torch.diag(torch.tensor([1.0, 3.0]))).damped(1.0)
    >>> solution = ConjugateGradient().solve(operator, torch.ones(1, 2))
    >>> solution.value, solution.steps
    (tensor([[0.5000, 0.2500]]), 2)
    """

    tolerance: float = 1e-3
    max_steps: int = 200
    kind: Literal["cg"] = "cg"
    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_positive(self)

    def solve(
        self, operator: Damped, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        value = torch.zeros_like(rhs)
        left, direction = rhs.clone(), rhs.clone()
        square = left.square().sum(1)
        goal = (self.tolerance * rhs.norm(dim=1)).square()
        moving = square > goal
        steps = 0
        while steps < self.max_steps and bool(moving.any()):
            product = operator.apply(direction[moving])
            curve = (direction[moving] * product).sum(1)
            length = torch.where(curve > 0, square[moving] / curve, 0.0)[:, None]
            value[moving] += length * direction[moving]
            left[moving] -= length * product
            before, square = square, left.square().sum(1)
            turn = (square / before.clamp_min(torch.finfo(rhs.dtype).tiny))[moving, None]
            direction[moving] = left[moving] + turn * direction[moving]
            stuck = torch.zeros_like(moving)
            stuck[moving] = curve <= 0
            moving = moving & (square > goal) & ~stuck
            steps += 1
        residual = self._residual(operator, value, rhs, steps)
        # No residual can be measured below the rounding of the product it is measured with.
        reachable = max(2 * self.tolerance, 100 * torch.finfo(rhs.dtype).eps)
        return Solution(value, residual, residual <= reachable, steps, operator.damping)

    def _residual(self, operator: Damped, value: Tensor, rhs: Tensor, steps: int) -> Tensor:
        """Measured anew: the recurrence's own residual drifts from the true one."""
        if steps == 0:
            return relative(rhs.norm(dim=1), rhs.norm(dim=1))
        return measured_residual(operator, value, rhs)
