"""LiSSA: stochastic Neumann series on mini-batches, the solver of the FastIF paper."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator
from fastif.numerics.blocked_dot import row_dots, row_norms
from fastif.solvers.cost import SolverCost, SolverProblem
from fastif.solvers.lanczos import max_eigenvalue, minibatch_eigenvalue_margin
from fastif.solvers.neumann import NeumannSeries
from fastif.solvers.preconditioner import (
    check_preconditioner,
    estimate_preconditioner_cost,
    fit_preconditioner,
    make_preconditioner_inverse,
)
from fastif.solvers.settings import LissaSettings
from fastif.solvers.solver import (
    Factor,
    RepeatedSolver,
    Solution,
    Solve,
    mark_failed,
    measure_residual,
    safe_ratio,
    solve_finite_rows,
)

SCALE = "scale"
AUTO_DEPTH, SCALE_SWEEPS = 1000, 8
"""Assumed steps until convergence, and passes over the examples that determine the scale."""


@dataclass(frozen=True)
class Lissa(LissaSettings, RepeatedSolver):
    """LiSSA, a stochastic Neumann series on mini-batches (Agarwal, Bullins and Hazan, 2017).

        x ← x + (b - A_B x) / s    for J steps;  x → A⁻¹ b;  mean of T repeats

    A_B is a fresh mini-batch of B examples each step, with the damping λ of A. The FastIF code
    multiplies the damping by the step scale; here λ is the operator's own and `scale` sets the step
    only. All right-hand sides share the mini-batches, so the solution of one does not depend on the
    others.

    The defaults converge in the mean square. The scale is λ_max(A) + max_i λ_max(A_i) / B over all
    examples i, at which the mean squared error shrinks at every step (half of it may be enough).
    Steps are taken until the measured residual is within the tolerance, and the solution is the
    average of the later iterates, without which small batches never converge. With a preconditioner
    P the recursion is x ← x + P⁻¹ (b - A_B x) / s, and the scale refers to P⁻¹A.

    With a number as `depth`, exactly that many steps are taken and the last iterate is the
    solution. An iterate that grows beyond any possible solution has diverged and becomes NaN.

    Args:
        depth: Number J of steps; "auto" stops at convergence.
        repeats: Number T of independent repeats that are averaged; their spread is reported.
        batch: Number B of examples in a mini-batch.
        scale: Step scale s, above half the largest eigenvalue of every A_B; "auto" estimates it.
        tolerance: Relative residual at which a solution has converged, above 0 to 1.
        max_steps: Largest number of steps with depth "auto".
        seed: Random seed of the mini-batches; repeat t uses seed + t.
        preconditioner: Kind of preconditioner, see `ConjugateGradient`.
        rank: Number of eigenvalues for "eigen", or of sampled factor rows for "drawn".
        preset: Settings of the paper's experiments ("fastif"): J = 1000, T = 1, B = 1, s = 1e4.
            Their damping of 5e-3 is λ = 50 here, see `effective_damping`.
        kind: Name of the solver in a study file.

    Raises:
        InputError: If a hyper-parameter is out of range or contradicts the preset.

    Examples:
        >>> from fastif.curvature import DenseOperator
        >>> operator = DenseOperator(torch.eye(2)).with_damping(1.0)
        >>> Lissa(depth=200, scale=4.0).solve(operator, torch.ones(1, 2)).value
        tensor([[0.5000, 0.5000]])
    """

    factor_fields: ClassVar[tuple[str, ...]] = ("preconditioner", "rank", "scale", "batch")
    remedy: ClassVar[str] = (
        "Leave out [solver] scale, raise the damping (a Hessian may need much), or use dual or cg."
    )

    def check(self, operator: DampedOperator) -> None:
        check_preconditioner(self.preconditioner, operator, self.rank)

    def estimate_cost(self, problem: SolverProblem) -> SolverCost:
        cost = estimate_preconditioner_cost(self.preconditioner, self.rank, problem)
        depth = min(self.max_steps, AUTO_DEPTH) if self.depth == "auto" else self.depth
        sweeps = cost.sweeps + (SCALE_SWEEPS if self.scale == "auto" else 0)
        return SolverCost(
            depth * self.repeats * self.batch + problem.rows,
            problem.rows * sweeps + problem.min_eigenvalue_examples,
            working_bytes=cost.working_bytes,
            factor_bytes=cost.factor_bytes,
        )

    def factor(self, operator: DampedOperator) -> Factor:
        """Return the preconditioner, and the scale if it is "auto"."""
        operator_factor = dict(fit_preconditioner(self.preconditioner, operator, self.rank))
        if self.scale == "auto":
            inverse = make_preconditioner_inverse(self.preconditioner, operator, operator_factor)
            largest = max_eigenvalue(operator, inverse)
            scale = largest + minibatch_eigenvalue_margin(operator, self.batch, inverse)
            operator_factor[SCALE] = torch.tensor(scale, dtype=torch.float64)
        return operator_factor

    def solve(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        return self.prepare(operator, factor)(rhs)

    def prepare(self, operator: DampedOperator, factor: Factor | None = None) -> Solve:
        series = self._make_series(operator, self.factor(operator) if factor is None else factor)

        def solve(rows: Tensor) -> Solution:
            runs = (self._run(series, operator, rows, index) for index in range(self.repeats))
            return self.merge_runs(operator, rows, runs)

        return lambda rhs: solve_finite_rows(operator, rhs, solve)

    def run_repeat(
        self,
        operator: DampedOperator,
        rhs: Float[Tensor, "q p"],
        index: int,
        factor: Factor | None = None,
    ) -> Solution:
        """Run one of the T repeats, such as on its own worker; `merge_runs` averages them.

        The residual is NaN where it was not measured: with a number as depth.
        """
        series = self._make_series(operator, self.factor(operator) if factor is None else factor)
        return solve_finite_rows(
            operator, rhs, lambda rows: self._run(series, operator, rows, index)
        )

    def merge_runs(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], runs: Iterable[Solution]
    ) -> Solution:
        """Return the mean of the repeats, its residual, and their relative standard deviation.

        The repeats may come from a generator; one at a time is in memory.
        """
        mean, square = rhs, rhs.new_zeros(len(rhs))
        residual, steps, count = square, 0, 0
        for count, run in enumerate(runs, 1):
            steps, residual = steps + run.steps, run.residual
            if count == 1:
                mean = run.value
                continue
            change = run.value - mean
            mean = mean.add(change, alpha=1 / count)
            square += row_dots(change, run.value - mean)  # Welford's algorithm
        if count > 1 or not residual.isfinite().any():
            residual = measure_residual(operator, mean, rhs)
        converged, damping = residual <= self.tolerance, operator.damping
        return mark_failed(
            Solution(mean, residual, converged, steps, damping, _relative_std(mean, square, count))
        )

    def _make_series(self, operator: DampedOperator, factor: Factor) -> NeumannSeries:
        scale = float(factor[SCALE]) if self.scale == "auto" else self.scale
        inverse = make_preconditioner_inverse(self.preconditioner, operator, factor)
        if self.depth != "auto":
            return NeumannSeries(scale, self.batch, self.depth, None, 0.0, inverse)
        # (1 - λ_min / s)^J = tolerance; preconditioned by EK-FAC, eigenvalues are around 1.
        min_eigenvalue = 1.0 if self.preconditioner == "ekfac" else operator.damping
        bias = math.log(1 / self.tolerance) * scale / min_eigenvalue if min_eigenvalue else math.inf
        return NeumannSeries(scale, self.batch, self.max_steps, self.tolerance, bias, inverse)

    def _run(
        self, series: NeumannSeries, operator: DampedOperator, rhs: Tensor, index: int
    ) -> Solution:
        value, residual, steps = series.run(operator, rhs, self.seed + index)
        return Solution(value, residual, residual <= self.tolerance, steps, operator.damping)


def _relative_std(mean: Tensor, square: Tensor, count: int) -> Tensor | None:
    if count < 2:
        return None
    return safe_ratio((square / (count - 1)).sqrt(), row_norms(mean))
