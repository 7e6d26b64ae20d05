"""Preconditioned conjugate gradients for many right-hand sides at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator
from fastif.numerics.blocked_dot import row_dots, row_norms
from fastif.solvers.cost import CG_SWEEPS, SolverCost, SolverProblem
from fastif.solvers.lanczos import Inverse
from fastif.solvers.preconditioner import (
    check_preconditioner,
    estimate_preconditioner_cost,
    fit_preconditioner,
    make_preconditioner_inverse,
)
from fastif.solvers.settings import ConjugateGradientSettings
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
class ConjugateGradient(ConjugateGradientSettings, Solver):
    """Preconditioned conjugate gradients (Hestenes and Stiefel, 1952) for all queries at once.

    A + λI must be positive definite. All q right-hand sides share each pass over the examples, and
    those that have converged leave it. A right-hand side stops as not converged if it meets a
    direction of negative curvature (a Hessian with too little damping).

    A preconditioner P ≈ A + λI reduces the number of steps. Convergence is measured on the true
    residual b - (A + λI) x either way.

    - "eigen": spectral preconditioner from the `rank` largest eigenvalues, by a randomized
      eigendecomposition with two products of `rank` vectors. About ten times fewer steps where λ is
      far below these eigenvalues. Memory: two matrices rank x p while fitting, one after.
    - "drawn": P = G' + λI with G' an importance-sampled Gauss-Newton matrix of `rank` factor rows
      (see `SampledGaussNewton`), inverted through its Gram matrix. A few thousand rows carry nearly
      all of a trained model's curvature, so a handful of steps remain. Memory: a matrix rank x
      rank, and up to 1 GB of factor rows.
    - "ekfac": P = EK-FAC + λI. The remaining residual lies in directions across layers, which
      EK-FAC does not model; in our measurements it rarely takes fewer steps than "none".

    For a Hessian, P is made from the Gauss-Newton matrix of its examples.

    Args:
        tolerance: Relative residual at which a right-hand side has converged, above 0 to 1.
        max_steps: Largest number of steps, with one product with the operator each.
        preconditioner: Kind of preconditioner: "none", "ekfac", "eigen" or "drawn".
        rank: Number of eigenvalues for "eigen", or of sampled factor rows for "drawn".
        kind: Name of the solver in a study file.

    Raises:
        InputError: If a hyper-parameter is out of range; from `solve`, if the preconditioner does
            not fit the operator.

    Examples:
        >>> from fastif.curvature import DenseOperator
        >>> operator = DenseOperator(torch.diag(torch.tensor([1.0, 3.0]))).with_damping(1.0)
        >>> solution = ConjugateGradient().solve(operator, torch.ones(1, 2))
        >>> solution.value, solution.steps
        (tensor([[0.5000, 0.2500]]), 2)
    """

    factor_depends_on_damping: ClassVar[bool] = False
    factor_fields: ClassVar[tuple[str, ...]] = ("preconditioner", "rank")
    remedy: ClassVar[str] = "Raise the damping: the curvature is not positive definite with it."

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
        # Recomputed, because the residual of the recurrence drifts from the true one.
        residual = measure_residual(operator, value, rhs) if steps else safe_ratio(norm, norm)
        # Rounding of the product limits how small a residual can be measured.
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
    """Preconditioned conjugate gradients from x = 0.

    Right-hand sides that reach their target leave the iteration, and only the others are
    multiplied.

    Args:
        operator: Damped curvature A + λI.
        rhs: Right-hand sides b, one in each row.
        inverse: Preconditioner, a function that multiplies vectors by P⁻¹.
        target: Norm of the residual at which each right-hand side stops.
        max_steps: Largest number of steps.
        residual_norm: Norm that is compared with the target.

    Returns:
        The solutions x, and the number of steps.
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
        del product  # as large as the right-hand sides; frees memory for the preconditioner
        preconditioned = inverse(residual)
        previous, square = square, row_dots(residual, preconditioned)
        direction.mul_(torch.where(valid, square / previous, 0.0)[:, None]).add_(preconditioned)
        active = valid & (residual_norm(residual) > target)
        steps += 1
    return merge_by_position([*finished, (positions, value)]), steps
