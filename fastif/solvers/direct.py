"""Direct solver: LU factorisation of the dense damped matrix, for few parameters."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator
from fastif.errors import InputError
from fastif.solvers.cost import SolverCost, SolverProblem
from fastif.solvers.definiteness import MIN_EIGENVALUE, compute_min_eigenvalue
from fastif.solvers.settings import DirectSettings
from fastif.solvers.solver import Factor, Solution, Solver, measure_residual, solve_finite_rows

MAX_SIZE = 10_000

DENSE_COLUMNS = 64
"""Columns of a dense Hessian that one pass over the examples computes."""


@dataclass(frozen=True)
class Direct(DirectSettings, Solver):
    """LU factorisation of the dense p x p matrix A + λI in double precision, for p up to 10,000.

    If A may be indefinite (a Hessian), the factor also holds its minimum eigenvalue.

    Args:
        kind: Name of the solver in a study file.

    Raises:
        InputError: From `solve`, if p is above 10,000 or the matrix is singular.

    Examples:
        >>> from fastif.curvature import DenseOperator
        >>> operator = DenseOperator(torch.diag(torch.tensor([1.0, 3.0]))).with_damping(1.0)
        >>> Direct().solve(operator, torch.ones(1, 2)).value
        tensor([[0.5000, 0.2500]])
    """

    def check(self, operator: DampedOperator) -> None:
        if operator.size > MAX_SIZE:
            raise InputError(
                "solver direct",
                f"at most {MAX_SIZE} attributed parameters",
                f"{operator.size}",
                'Use kind = "dual" or "cg", or attribute fewer parameters.',
            )

    def estimate_cost(self, problem: SolverProblem) -> SolverCost:
        # the GGN is a product of factor rows, of which one pass has all
        sweeps = -(-problem.parameters // DENSE_COLUMNS) if problem.is_hessian else 1
        return SolverCost(problem.rows, problem.rows * sweeps, vectors_per_query=2)

    def factor(self, operator: DampedOperator) -> Factor:
        self.check(operator)
        matrix = operator.to_dense().double()
        lu, pivots, failed = torch.linalg.lu_factor_ex(matrix)
        if failed:
            raise InputError(
                "solver direct",
                "an invertible curvature",
                f"a singular matrix with damping {operator.damping}",
                "Set a positive damping, say 0.1.",
            )
        operator_factor = {"lu": lu, "pivots": pivots}
        min_eigenvalue = (
            None
            if operator.operator.is_semidefinite
            else compute_min_eigenvalue(matrix, operator.damping)
        )
        return (
            operator_factor
            if min_eigenvalue is None
            else {**operator_factor, MIN_EIGENVALUE: min_eigenvalue}
        )

    def solve(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        operator_factor = factor or self.factor(operator)

        def solve_finite(vectors: Tensor) -> Solution:
            value = solve_factored(operator_factor, vectors).to(vectors.dtype)
            residual = measure_residual(operator, value, vectors)
            return Solution(value, residual, residual < 1e-3, 1, operator.damping)

        return solve_finite_rows(operator, rhs, solve_finite)


def solve_factored(factor: Factor, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
    """Return `vectors @ (A + λI)⁻¹` in double precision from the LU factors of `Direct`."""
    lu, pivots = factor["lu"].to(vectors.device), factor["pivots"].to(vectors.device)
    return torch.linalg.lu_solve(lu, pivots, vectors.double().T).T
