"""Solver and Solution: A x = b for many rows b, and how well it went."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.curvature.ekfac.ekfac import Ekfac
from fastif.curvature.ggn import GaussNewton
from fastif.curvature.operator import DampedOperator
from fastif.data.examples import Examples
from fastif.numerics.blocked_dot import row_norms
from fastif.solvers.cost import CG_SWEEPS, SolverCost, SolverProblem

Factor = Mapping[str, Tensor]
"""What a solver keeps of an operator between calls: named tensors, ready for safetensors."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The rows x with A x ≈ b, and the evidence.

    A row that could not be solved (a right-hand side with NaN in it, a series that diverged) is NaN
    with an infinite residual; the other rows are as if it had not been there.

    Attributes:
        value: x.
        residual: ‖b - A x‖ / ‖b‖ of each row, on the damped operator that was to be solved.
        converged: whether the residual is within the solver's tolerance.
        steps: sweeps over the operator that were used.
        damping: the effective λ.
        spread: relative standard deviation over repeats, where a solver has repeats.
    """

    value: Float[Tensor, "q p"]
    residual: Float[Tensor, " q"]
    converged: Bool[Tensor, " q"]
    steps: int
    damping: float
    spread: Float[Tensor, " q"] | None = None


Solve = Callable[[Tensor], Solution]
"""From rows b to their solution: a solver bound to one operator."""


@dataclass(frozen=True, eq=False)
class TrainingScores:
    """Products of x = (A + λI)⁻¹ b with the loss gradients of all n training examples.

    Attributes:
        scores: ∇L(train)ᵀ x.
        products: ∇L(train)ᵀ b.
        residual: ‖b - (A + λI) x‖ / ‖b‖; measured in the kernel, and a bound on what rounding adds.
        converged: whether the residual is within the solver's tolerance.
        solution_norm: ‖x‖, and product: bᵀ x.
        damping: λ.
    """

    scores: Float[Tensor, "q n"]
    products: Float[Tensor, "q n"]
    residual: Float[Tensor, " q"]
    converged: Bool[Tensor, " q"]
    solution_norm: Float[Tensor, " q"]
    product: Float[Tensor, " q"]
    damping: float


ScoreFn = Callable[[Tensor], TrainingScores]
"""From right-hand sides b [q p] to their scores of all training examples."""


class Solver(ABC):
    """A frozen record of hyper-parameters: the algorithm, its configuration and its provenance.

    `factor` does what depends on the operator alone and can be kept; `solve` does the rest:
    `solver.solve(operator, rhs, solver.factor(operator))`. Who solves many sets of rows in one
    process takes `prepare` and calls what it returns.

    Attributes:
        factor_depends_on_damping: whether another damping needs another factor.
        factor_fields: names of the hyper-parameters that the factor depends on.
        remedy: what to change where rows come back as NaN.
        requires_damping: whether a study needs λ > 0 for it.
        requires_factored: whether it takes no curvature but one that is a product RᵀR / m.
        kind: its name in a study file and in the store, see `SOLVERS`.
    """

    factor_depends_on_damping: ClassVar[bool] = True
    factor_fields: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "Raise the damping, or use the dual solver."
    requires_damping: ClassVar[bool] = True
    requires_factored: ClassVar[bool] = False
    kind: Any  # a text; solvers narrow it to the one that it is

    @property
    def effective_damping(self) -> float | None:
        """The λ that its settings bring along; None unless a solver says otherwise."""
        return None

    @property
    def ekfac_solver(self) -> "EkfacSolver | None":
        """Itself, if it inverts EK-FAC in place of the curvature, for which another λ is best."""
        return None

    @property
    def repeated_solver(self) -> "RepeatedSolver | None":
        """Itself, if it averages independent runs, which can be split over workers."""
        return None

    def check(self, operator: DampedOperator) -> None:  # noqa: B027  most solvers take any operator
        """Refuse an operator that this solver cannot treat, before any work is done.

        Raises:
            InputError: what is wrong with it.
        """

    def estimate_cost(self, problem: SolverProblem) -> SolverCost:
        """What factoring and solving take, for a forecast.

        Unless a solver says otherwise: so many sweeps a solve as conjugate gradients are guessed to
        take, and no factor but the least eigenvalue of a Hessian.
        """
        sweeps = min(CG_SWEEPS, problem.parameters)
        return SolverCost(problem.rows * sweeps, problem.min_eigenvalue_examples)

    def factor(self, operator: DampedOperator) -> Factor:
        """What depends on the operator alone; nothing unless a solver says otherwise."""
        return {}

    @abstractmethod
    def solve(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        """X with (A + λI) x = rhs for every row; `rhs` is left as it is.

        Raises:
            InputError: the solver cannot treat this operator.
        """

    def prepare(self, operator: DampedOperator, factor: Factor | None = None) -> Solve:
        """`solve` for many sets of rows: what they share is done now, once, and held.

        Raises:
            InputError: the solver cannot treat this operator.
        """
        operator_factor = self.factor(operator) if factor is None else factor
        return lambda rhs: self.solve(operator, rhs, operator_factor)

    def prepare_scores(
        self, operator: DampedOperator, train: Examples, factor: Factor | None = None
    ) -> ScoreFn | None:
        """Scores of all training examples without s_test, for a solver that has them cheaper.

        None if it has not: then `prepare`, and take the training gradients once more.

        Raises:
            InputError: the solver cannot treat this operator.
        """
        return None


class EkfacSolver(Solver):
    """A solver that inverts EK-FAC in place of the curvature."""

    @property
    def ekfac_solver(self) -> "EkfacSolver":
        return self

    @abstractmethod
    def fit_ekfac(self, curvature: GaussNewton) -> Ekfac:
        """The EK-FAC that is inverted."""


class RepeatedSolver(Solver):
    """A solver that averages independent runs.

    Attributes:
        repeats: T, how many.
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
        """One of the T runs alone; `merge_runs` makes one answer of them."""

    @abstractmethod
    def merge_runs(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], runs: Iterable[Solution]
    ) -> Solution:
        """The mean of runs in their order, with its residual and spread."""


def solve_finite_rows(
    operator: DampedOperator, rhs: Float[Tensor, "q p"], solve: Solve
) -> Solution:
    """`solve` on the rows without NaN or infinity; the others come back as NaN, residual infinite.

    A row whose solution is not finite is made such a row too.
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
    """The solution with its rows that are not finite made NaN, not converged, residual infinite."""
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
    """Rows that were finished at different times, as (places, rows), in one matrix."""
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
    """‖rhs - A value‖ / ‖rhs‖, by one more product with the whole operator; 0 for a zero rhs."""
    return safe_ratio(row_norms(rhs - operator.apply(value)), row_norms(rhs))


def safe_ratio(error: Float[Tensor, " q"], reference: Float[Tensor, " q"]) -> Float[Tensor, " q"]:
    """Error / size, 0 where both are 0."""
    tiny = torch.finfo(reference.dtype).tiny
    return torch.where((reference == 0) & (error == 0), 0.0, error / reference.clamp_min(tiny))
