"""Exact solution by a dense factorisation, for few parameters."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import Damped
from fastif.errors import InputError
from fastif.solvers.definiteness import LEAST, exact_least
from fastif.solvers.solver import Factor, Solution, Solver, measured_residual, on_finite_rows

LARGEST = 10_000


@dataclass(frozen=True)
class Direct(Solver):
    """LU factorisation of the dense p x p matrix, in double precision; p up to 10,000.

    Of a matrix that may be indefinite (a Hessian) the factor also holds the least eigenvalue.

    >>> from fastif.curvature import Dense
    >>> operator = Dense(torch.diag(torch.tensor([1.0, 3.0]))).damped(1.0)
    >>> Direct().solve(operator, torch.ones(1, 2)).value
    tensor([[0.5000, 0.2500]])
    """

    kind: Literal["direct"] = "direct"
    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    def check(self, operator: Damped) -> None:
        if operator.size > LARGEST:
            raise InputError(
                "solver direct",
                f"at most {LARGEST} attributed parameters",
                f"{operator.size}",
                'Use kind = "dual" or "cg", or attribute fewer parameters.',
            )

    def factor(self, operator: Damped) -> Factor:
        self.check(operator)
        matrix = operator.dense().double()
        lu, pivots, failed = torch.linalg.lu_factor_ex(matrix)
        if failed:
            raise InputError(
                "solver direct",
                "a curvature that can be inverted",
                f"a singular one with damping {operator.damping}",
                "Take a positive damping, say 0.1.",
            )
        made = {"lu": lu, "pivots": pivots}
        least = None if operator.operator.semidefinite else exact_least(matrix, operator.damping)
        return made if least is None else {**made, LEAST: least}

    def solve(
        self, operator: Damped, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        made = factor or self.factor(operator)

        def divide(rows: Tensor) -> Solution:
            value = divided(made, rows).to(rows.dtype)
            residual = measured_residual(operator, value, rows)
            return Solution(value, residual, residual < 1e-3, 1, operator.damping)

        return on_finite_rows(operator, rhs, divide)


def divided(factor: Factor, rows: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
    """Rows A⁻¹ in double precision, A being the damped matrix that `Direct` factored."""
    lu, pivots = factor["lu"].to(rows.device), factor["pivots"].to(rows.device)
    return torch.linalg.lu_solve(lu, pivots, rows.double().T).T
