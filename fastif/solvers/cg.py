"""Conjugate gradients on all rows at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator
from fastif.numerics.blocked_dot import row_dots, row_norms
from fastif.solvers.check_positive import check_positive
from fastif.solvers.cost import CG_SWEEPS, SolverCost, SolverProblem
from fastif.solvers.lanczos import Inverse
from fastif.solvers.preconditioner import (
    Preconditioner,
    check_preconditioner,
    estimate_preconditioner_cost,
    fit_preconditioner,
    make_preconditioner_inverse,
)
from fastif.solvers.solver import (
    Factor,
    Solution,
    Solve,
    Solver,
    measure_residual,
    merge_by_position,
    safe_ratio,
    solve_finite_rows,
)


@dataclass(frozen=True)
class ConjugateGradient(Solver):
    """Conjugate gradients (Hestenes and Stiefel, 1952) for a positive definite operator.

    All rows share each sweep of products; a row that has converged stands still. A row along which
    the operator turns out not to be positive definite (a Hessian with too little damping) stops
    where it is and is reported as not converged.

    A preconditioner replaces A by P⁻¹A, P being positive definite. When a row has converged is
    judged on its own residual, b - (A + λI) x, all the same.

    - "eigen": A by its `rank` largest eigenvalues, taken once by two products with so many rows. A
      factor of ten fewer steps where λ is far below these. It holds two matrices rank x p while it
      is made and one after.
    - "drawn": P = G' + λI, G' from `rank` of A's root rows, drawn by their size (see
      `SampledGaussNewton`) and
      inverted in their own space. Some thousands carry nearly all of a trained model's curvature,
      which leaves a handful of steps. A kernel rank x rank, and the rows themselves up to 1 GB.
    - "ekfac": P = EK-FAC + λI. It knows the layers one by one, and the residual dwells on
      directions that lie across layers: measured, it rarely takes fewer steps than "none".

    Args:
        tolerance: relative residual at which a row has converged.
        max_steps: products with the operator, at most.
        preconditioner: "none", "ekfac", "eigen" or "drawn"; of a Hessian: that of its Gauss-Newton
            matrix.
        rank: eigenvalues of "eigen", or root rows of "drawn".

    >>> from fastif.curvature import DenseOperator
    >>> operator = DenseOperator(torch.diag(torch.tensor([1.0, 3.0]))).with_damping(1.0)
    >>> solution = ConjugateGradient().solve(operator, torch.ones(1, 2))
    >>> solution.value, solution.steps
    (tensor([[0.5000, 0.2500]]), 2)
    """

    factor_depends_on_damping: ClassVar[bool] = False
    factor_fields: ClassVar[tuple[str, ...]] = ("preconditioner", "rank")
    remedy: ClassVar[str] = "Raise the damping: the curvature is not positive definite with it."

    tolerance: float = 1e-3
    max_steps: int = 200
    preconditioner: Preconditioner = "none"
    rank: int = 100
    kind: Literal["cg"] = "cg"
    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_positive(self)

    def check(self, operator: DampedOperator) -> None:
        check_preconditioner(self.preconditioner, operator, self.rank)

    def estimate_cost(self, problem: SolverProblem) -> SolverCost:
        cost = estimate_preconditioner_cost(self.preconditioner, self.rank, problem)
        sweeps = -(-min(self.max_steps, CG_SWEEPS, problem.parameters) // cost.speedup)
        return SolverCost(
            problem.rows * sweeps,
            problem.rows * cost.sweeps + problem.min_eigenvalue_examples,
            working_bytes=cost.working_bytes,
            factor_bytes=cost.factor_bytes,
        )

    def factor(self, operator: DampedOperator) -> Factor:
        return fit_preconditioner(self.preconditioner, operator, self.rank)

    def solve(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        return self.prepare(operator, factor)(rhs)

    def prepare(self, operator: DampedOperator, factor: Factor | None = None) -> Solve:
        operator_factor = self.factor(operator) if factor is None else factor
        inverse = make_preconditioner_inverse(self.preconditioner, operator, operator_factor)
        return lambda rhs: solve_finite_rows(
            operator, rhs, lambda vectors: self._solve(operator, vectors, inverse)
        )

    def _solve(self, operator: DampedOperator, rhs: Tensor, inverse: Inverse) -> Solution:
        norm = row_norms(rhs)
        value, steps = conjugate_gradients(
            operator, rhs, inverse, self.tolerance * norm, self.max_steps
        )
        # Measured anew: the recurrence's own residual drifts from the true one.
        residual = measure_residual(operator, value, rhs) if steps else safe_ratio(norm, norm)
        # No residual can be measured below the rounding of the product it is measured with.
        reachable = max(2 * self.tolerance, 100 * torch.finfo(rhs.dtype).eps)
        return Solution(value, residual, residual <= reachable, steps, operator.damping)


def conjugate_gradients(
    operator: DampedOperator,
    rhs: Float[Tensor, "q p"],
    inverse: Inverse,
    target: Float[Tensor, " q"],
    max_steps: int,
    residual_norm: Callable[[Tensor], Tensor] = row_norms,
) -> tuple[Float[Tensor, "q p"], int]:
    """The rows x, and the number of steps.

    A row stops when its residual is no longer than its goal, and only the rows that are still
    moving are held together and multiplied.
    """
    positions = torch.arange(len(rhs), device=rhs.device)
    value, residual = torch.zeros_like(rhs), rhs.clone()
    preconditioned = inverse(residual)
    direction, square = preconditioned.clone(), row_dots(residual, preconditioned)
    active = residual_norm(residual) > target
    finished: list[tuple[Tensor, Tensor]] = []
    steps = 0
    while steps < max_steps and bool(active.any()):
        if not active.all():
            finished.append((positions[~active], value[~active]))
            positions, target, square = positions[active], target[active], square[active]
            value, residual, direction = value[active], residual[active], direction[active]
        product = operator.apply(direction)
        curvature = row_dots(direction, product)
        valid = (curvature > 0) & (square > 0)
        stride = torch.where(valid, square / curvature, 0.0)[:, None]
        value.addcmul_(stride, direction)
        residual.addcmul_(-stride, product)
        del product  # as large as all rows, and the preconditioner needs room
        preconditioned = inverse(residual)
        previous, square = square, row_dots(residual, preconditioned)
        direction.mul_(torch.where(valid, square / previous, 0.0)[:, None]).add_(preconditioned)
        active = valid & (residual_norm(residual) > target)
        steps += 1
    return merge_by_position([*finished, (positions, value)]), steps
