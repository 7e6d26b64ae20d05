"""Interface of solvers of (A + λI) x = b for many right-hand sides, with residuals."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.curvature.ekfac.ekfac import Ekfac
from fastif.curvature.ggn import GaussNewton
from fastif.curvature.operator import DampedOperator
from fastif.data.examples import Examples
from fastif.numerics.blocked_dot import row_norms
from fastif.solvers.cost import CG_SWEEPS, SolverCost, SolverProblem
from fastif.solvers.settings import SolverSettings

Factor = Mapping[str, Tensor]
"""Part of a solve that depends on the operator alone: named tensors, ready for safetensors."""


@dataclass(frozen=True, eq=False)
class Solution:
    """Solutions x of (A + λI) x = b for q right-hand sides b, with their residuals.

    A right-hand side that cannot be solved (NaN in it, a series that diverges) has NaN as solution
    and an infinite residual. The other right-hand sides are not affected.

    Attributes:
        value: Solutions x, one in each row.
        residual: Relative residual ‖b - (A + λI) x‖ / ‖b‖ on the damped operator, without unit.
        converged: Whether the residual is within the solver's tolerance.
        steps: Number of passes over the operator.
        damping: Effective damping λ.
        spread: Relative standard deviation over repeats; None for a solver without repeats.
    """

    value: Float[Tensor, "q p"]
    residual: Float[Tensor, " q"]
    converged: Bool[Tensor, " q"]
    steps: int
    damping: float
    spread: Float[Tensor, " q"] | None = None


Solve = Callable[[Tensor], Solution]
"""Function from right-hand sides to their solutions: a solver bound to one operator."""


@dataclass(frozen=True, eq=False)
class TrainingScores:
    """Inner products of x = (A + λI)⁻¹ b with the loss gradients of all n training examples.

    Attributes:
        scores: Products ∇L(train)ᵀ x.
        products: Products ∇L(train)ᵀ b, without the inverse.
        residual: Relative residual ‖b - (A + λI) x‖ / ‖b‖ from the Gram matrix, plus a bound on the
            effect of rounding.
        converged: Whether the residual is within the solver's tolerance.
        solution_norm: Norm ‖x‖ of each solution.
        product: Inner product bᵀ x of each right-hand side with its solution.
        damping: Effective damping λ.
    """

    scores: Float[Tensor, "q n"]
    products: Float[Tensor, "q n"]
    residual: Float[Tensor, " q"]
    converged: Bool[Tensor, " q"]
    solution_norm: Float[Tensor, " q"]
    product: Float[Tensor, " q"]
    damping: float


ScoreFn = Callable[[Tensor], TrainingScores]
"""Function from right-hand sides b [q p] to their scores of all training examples."""


class Solver(SolverSettings, ABC):
    """Interface of a solver: a frozen dataclass of hyper-parameters, which records how it solved.

    `factor` does the work that depends on the operator alone, and its result can be stored. `solve`
    does the rest: `solver.solve(operator, rhs, solver.factor(operator))`. To solve several sets of
    right-hand sides in one process, call `prepare` once and use the function that it returns.

    Attributes:
        factor_depends_on_damping: Whether another damping needs another factor.
        factor_fields: Names of the hyper-parameters on which the factor depends.
        remedy: Advice for right-hand sides without a finite solution.
        requires_damping: Whether a study needs λ > 0 for this solver.
        requires_factored: Whether the curvature must have a factor, G = VᵀV / n.
        kind: Name of the solver in a study file and in the store, see `SOLVERS`.
    """

    factor_depends_on_damping: ClassVar[bool] = True
    factor_fields: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "Raise the damping, or use the dual solver."

    @property
    def ekfac_solver(self) -> "EkfacSolver | None":
        """This solver, if it inverts EK-FAC, which has its own best damping; else None."""
        return None

    @property
    def repeated_solver(self) -> "RepeatedSolver | None":
        """This solver, if it averages independent repeats, which several workers can share."""
        return None

    def check(self, operator: DampedOperator) -> None:
        """Refuse an operator that this solver does not support, before any work is done.

        Raises:
            InputError: If the operator does not meet a requirement of the solver.
        """

    def estimate_cost(self, problem: SolverProblem) -> SolverCost:
        """Estimate the cost of factoring and solving, for a forecast.

        The default is the number of passes of conjugate gradients, which is an assumption, and no
        factor except the minimum eigenvalue of a Hessian.
        """
        sweeps = min(CG_SWEEPS, problem.parameters)
        return SolverCost(problem.rows * sweeps, problem.min_eigenvalue_examples)

    def factor(self, operator: DampedOperator) -> Factor:
        """Return the tensors that depend on the operator alone; an empty mapping by default."""
        return {}

    @abstractmethod
    def solve(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        """Solve (A + λI) x = rhs for every right-hand side, and measure the residuals.

        Args:
            operator: Damped curvature A + λI.
            rhs: Right-hand sides, one in each row; left unchanged.
            factor: Result of `factor` for this operator; computed if omitted.

        Raises:
            InputError: If the solver does not support the operator.
        """

    def prepare(self, operator: DampedOperator, factor: Factor | None = None) -> Solve:
        """Return a function that solves many sets of right-hand sides with one factor.

        Args:
            operator: Damped curvature A + λI.
            factor: Result of `factor` for this operator; computed if omitted.

        Raises:
            InputError: If the solver does not support the operator.
        """
        operator_factor = self.factor(operator) if factor is None else factor
        return lambda rhs: self.solve(operator, rhs, operator_factor)

    def prepare_scores(
        self, operator: DampedOperator, train: Examples, factor: Factor | None = None
    ) -> ScoreFn | None:
        """Return a function that scores all training examples without computing s_test = x.

        Args:
            operator: Damped curvature A + λI.
            train: Training examples to score.
            factor: Result of `factor` for this operator; computed if omitted.

        Returns:
            The scoring function; None if the solver has no such shortcut. Then use `prepare` and a
            pass over the training gradients.

        Raises:
            InputError: If the solver does not support the operator.
        """
        return None


class EkfacSolver(Solver):
    """Interface of a solver that inverts EK-FAC in place of the curvature."""

    @property
    def ekfac_solver(self) -> "EkfacSolver":
        return self

    @abstractmethod
    def fit_ekfac(self, curvature: GaussNewton) -> Ekfac:
        """Fit the EK-FAC approximation that this solver inverts."""


class RepeatedSolver(Solver):
    """Interface of a solver that averages independent stochastic repeats.

    Attributes:
        repeats: Number T of independent repeats.
    """

    repeats: int

    @property
    def repeated_solver(self) -> "RepeatedSolver":
        return self

    @abstractmethod
    def run_repeat(
        self,
        operator: DampedOperator,
        rhs: Float[Tensor, "q p"],
        index: int,
        factor: Factor | None = None,
    ) -> Solution:
        """Run one of the T repeats; `merge_runs` averages them."""

    @abstractmethod
    def merge_runs(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], runs: Iterable[Solution]
    ) -> Solution:
        """Return the mean of the repeats in their order, with its residual and spread."""


def solve_finite_rows(
    operator: DampedOperator, rhs: Float[Tensor, "q p"], solve: Solve
) -> Solution:
    """Apply `solve` to the finite right-hand sides and mark all others as failed.

    A failed right-hand side has NaN as solution and an infinite residual, as has one with a
    solution that is not finite.
    """
    finite = torch.isfinite(rhs.norm(dim=1))
    if finite.all():
        return mark_failed(solve(rhs))
    value = torch.full_like(rhs, torch.nan)
    solution = Solution(value, value[:, 0], finite, 0, operator.damping)
    if finite.any():
        finite_solution = solve(rhs[finite])
        value[finite] = finite_solution.value
        solution = replace(
            finite_solution,
            value=value,
            residual=_scatter_values(finite_solution.residual, finite),
            converged=_scatter_values(finite_solution.converged, finite),
            spread=None
            if finite_solution.spread is None
            else _scatter_values(finite_solution.spread, finite),
        )
    return mark_failed(solution)


def _scatter_values(values: Tensor, mask: Tensor) -> Tensor:
    scattered = values.new_zeros(len(mask))
    scattered[mask] = values
    return scattered


def mark_failed(solution: Solution) -> Solution:
    """Mark solutions that are not finite as failed: NaN, not converged, residual infinite."""
    failed = ~torch.isfinite(solution.value.norm(dim=1))
    if not failed.any():
        return solution
    solution.value[failed] = torch.nan
    spread = solution.spread
    return replace(
        solution,
        residual=solution.residual.masked_fill(failed, torch.inf),
        converged=solution.converged & ~failed,
        spread=None if spread is None else spread.masked_fill(failed, torch.nan),
    )


def merge_by_position(chunks: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Merge chunks of (positions, rows) that finished at different times into one matrix."""
    if len(chunks) == 1:
        return chunks[0][1]
    rows = chunks[0][1]
    merged = rows.new_empty(sum(len(positions) for positions, _ in chunks), *rows.shape[1:])
    for positions, values in chunks:
        merged[positions] = values
    return merged


def measure_residual(
    operator: DampedOperator, value: Float[Tensor, "q p"], rhs: Float[Tensor, "q p"]
) -> Float[Tensor, " q"]:
    """Return ‖rhs - A value‖ / ‖rhs‖ from one product with the operator; 0 for a zero rhs."""
    error = operator.apply(value).sub_(rhs)  # no fourth matrix of this size
    return safe_ratio(row_norms(error), row_norms(rhs))


def safe_ratio(error: Float[Tensor, " q"], reference: Float[Tensor, " q"]) -> Float[Tensor, " q"]:
    """Return error / reference, or 0 where both are 0."""
    tiny = torch.finfo(reference.dtype).tiny
    return torch.where((reference == 0) & (error == 0), 0.0, error / reference.clamp_min(tiny))
