"""The exact damped Gauss-Newton inverse, in the space of examples."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator, FactoredOperator
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.numerics.blocked_dot import row_norms
from fastif.solvers.cg import conjugate_gradients
from fastif.solvers.check_positive import check_positive
from fastif.solvers.cost import (
    FLOAT32_BYTES,
    FLOAT64_BYTES,
    KERNEL_COPIES,
    SolverCost,
    SolverProblem,
)
from fastif.solvers.dual_scores import CONVERGENCE_TOLERANCE, make_dual_scorer
from fastif.solvers.gram import (
    GramOperator,
    RoundingEstimator,
    apply_factor,
    apply_factor_transpose,
    compute_gram_matrix,
    gram_norms,
    make_shifted_inverse,
)
from fastif.solvers.pivoted_cholesky import randomly_pivoted_cholesky
from fastif.solvers.solver import (
    Factor,
    ScoreFn,
    Solution,
    Solve,
    Solver,
    measure_residual,
    safe_ratio,
    solve_finite_rows,
)

MEGABYTE = 10**6
TARGET_RESIDUAL = 1e-3
"""Relative residual to which the answer of a low-rank factor is refined."""

MAX_STEPS = 20
EXACT_SWEEPS, LOW_RANK_SWEEPS, KERNEL_COLUMNS = 3, 7, 64
"""Sweeps of a solve, with a rank by a guess; and the columns that a low-rank kernel takes at once.
"""
TRACE_TOLERANCE = 0.1
"""Trace left out by a low-rank factor, as a part of λ m, below which one refinement or two do."""


@dataclass(frozen=True)
class Dual(Solver):
    """x = (b - Rᵀ (λ m I + K)⁻¹ R b) / λ with K = R Rᵀ, exact for A = RᵀR / m + λI (Woodbury).

    The system has one unknown a root row (m examples x (classes - 1) for softmax), not one a
    parameter. The root rows are never all held: K is filled block by block, each block's rows being
    taken anew, and a solve takes them three times, for all right-hand sides together.

    With a `rank` r, only r columns of K are ever taken: K ≈ F Fᵀ, F [n r] by randomly pivoted
    Cholesky. That needs r / n of the memory, and a sweep for some 64 columns. The small system is
    still solved for K itself, K being applied by two sweeps, by conjugate gradients with
    (λ m I + F Fᵀ)⁻¹ in front (Frangella, Tropp and Udell, 2023) to a residual of 1e-3. So the rank
    decides how many sweeps there are, and not how good the answer is; one step does once the trace
    of K - F Fᵀ is below λ m, and F is not extended further than that.

    The residual is measured. For exact K that takes a third sweep but no third set of rows: with y
    the solution of the small system, b - A x = Rᵀ e for e = y - R x / m, so its norm is √(eᵀ K e).

    Where K is that of the whole training set, one sweep gives the scores of every training example,
    without x and without a pass to score: see `prepare_scores` and `DualScorer`.

    Args:
        block_rows: examples whose root rows are held while K is filled.
        rank: r at most; None fills all of K.
        memory_mb: 8 bytes x n² (with a rank: n x r) may be so many megabytes.

    >>> from fastif import GaussNewton, ModuleObjective, SquaredError, TensorExamples
    >>> points = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> examples = TensorExamples(points, torch.zeros(2, 1))
    >>> operator = GaussNewton(ModuleObjective(model, SquaredError()), examples).with_damping(1.0)
    >>> Dual().solve(operator, torch.ones(1, 2)).value  # 1 / (x² + λ)
    tensor([[0.5000, 0.2000]])
    """

    factor_fields: ClassVar[tuple[str, ...]] = ("rank",)
    requires_factored: ClassVar[bool] = True

    block_rows: int = field(default=128, metadata={"changes_answers": False})
    rank: int | None = None
    memory_mb: int = field(default=3200, metadata={"changes_answers": False})
    kind: Literal["dual"] = "dual"
    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_positive(self)

    @property
    def factor_depends_on_damping(self) -> bool:  # type: ignore[override]
        """How far a low-rank factor is taken does; the kernel itself does not."""
        return self.rank is not None

    def check(self, operator: DampedOperator) -> None:
        factored = _require_factored(operator)
        self._check_size(factored.count, factored.rows_per_example)

    def estimate_cost(self, problem: SolverProblem) -> SolverCost:
        rows = problem.factor_rows
        columns = min(rows, self.rank or rows)
        is_exact = self.rank is None
        return SolverCost(
            problem.rows * (EXACT_SWEEPS if is_exact else LOW_RANK_SWEEPS),
            self._count_factor_examples(problem),
            factor_products=rows**2 / 2 if is_exact else 0.0,  # K is symmetric
            vectors_per_query=2,
            held_rows=min(self.block_rows, problem.rows),
            working_bytes=KERNEL_COPIES * FLOAT64_BYTES * rows * columns,
            factor_bytes=FLOAT32_BYTES * rows * columns,
            scores_in_one_sweep=is_exact and problem.rows == problem.train,
        )

    def _count_factor_examples(self, problem: SolverProblem) -> int:
        """A block's rows meet those from it on; a rank takes a sweep for some columns."""
        if self.rank is not None:
            sweeps = 2 + min(self.rank, problem.factor_rows) // KERNEL_COLUMNS
            return problem.rows * sweeps
        block = max(1, self.block_rows // problem.batch_size) * problem.batch_size
        return sum(problem.rows - start for start in range(0, problem.rows, block))

    def factor(self, operator: DampedOperator) -> Factor:
        """K and its rounding, or F and the trace it leaves out."""
        factored = _require_factored(operator)
        batch_size_entry = {"batch_size": torch.tensor(factored.batch_size)}
        self._check_size(factored.count, factored.rows_per_example)
        if self.rank is None:
            held_count = max(1, self.block_rows // factored.batch_size)
            estimator = RoundingEstimator(factored)
            kernel = compute_gram_matrix(factored, held_count, estimator)
            return {
                "kernel": kernel,
                "rounding": estimator.estimate_rounding(kernel),
                **batch_size_entry,
            }
        target_trace = TRACE_TOLERANCE * operator.damping * factored.count
        held_count = self.block_rows * factored.rows_per_example
        root, remaining_trace = randomly_pivoted_cholesky(
            factored, self.rank, target_trace, held_count
        )
        return {
            "root": root,
            "left": torch.tensor(remaining_trace, dtype=torch.float64),
            **batch_size_entry,
        }

    def solve(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        return self.prepare(operator, factor)(rhs)

    def prepare(self, operator: DampedOperator, factor: Factor | None = None) -> Solve:
        factored = _require_factored(operator)
        operator_factor = self.factor(operator) if factor is None else factor
        _check_order(operator_factor, factored)
        build = _prepare_exact if self.rank is None else _prepare_low_rank
        solve = build(operator, factored, operator_factor)
        return lambda rhs: solve_finite_rows(operator, rhs, solve)

    def prepare_scores(
        self, operator: DampedOperator, train: Examples, factor: Factor | None = None
    ) -> ScoreFn | None:
        factored = _require_factored(operator)
        coefficients = (
            None if self.rank is not None else factored.compute_factor_coefficients(train)
        )
        if coefficients is None:
            return None
        operator_factor = self.factor(operator) if factor is None else factor
        _check_order(operator_factor, factored)
        if "rounding" not in operator_factor:
            return None
        kernel = operator_factor["kernel"].to(operator.like.device)
        return make_dual_scorer(
            operator, factored, coefficients, len(train), kernel, operator_factor["rounding"]
        )

    def _check_size(self, count: int, columns: int) -> None:
        rows, max_numbers = count * columns, self.memory_mb * MEGABYTE // 8
        if rows * min(rows, self.rank or rows) <= max_numbers:
            return
        max_rows = math.isqrt(max_numbers) if self.rank is None else max_numbers // self.rank
        needed = -(-8 * rows * min(rows, self.rank or rows) // MEGABYTE)
        raise InputError(
            "solver dual",
            f"at most {max_rows} root rows, examples of the curvature x (classes - 1), "
            f"for memory_mb = {self.memory_mb}",
            f"{count} x {columns} = {rows}",
            'Take kind = "cg", preconditioner = "drawn" and rank = 4000, with a smaller kernel; or '
            f"set [curvature] rows to {max_rows // columns} or less, a smaller rank (now "
            f"{self.rank or 'none, which is all'}), or memory_mb = {needed}.",
        )


def _prepare_exact(operator: DampedOperator, factored: FactoredOperator, factor: Factor) -> Solve:
    """With K itself; it is factorised once."""
    kernel = factor["kernel"].to(operator.like.device)
    damping, weight = operator.damping, operator.damping * factored.count
    inverse = make_shifted_inverse(kernel, weight)

    def solve(rhs: Tensor) -> Solution:
        dual = inverse(apply_factor(factored, rhs))
        value = apply_factor_transpose(factored, -dual, rhs.clone()).div_(damping)
        error = dual - apply_factor(factored, value) / factored.count
        error_norms = gram_norms(error, kernel).to(rhs.dtype)
        residual = safe_ratio(error_norms, row_norms(rhs))
        return Solution(value, residual, residual <= CONVERGENCE_TOLERANCE, 3, damping)

    return solve


def _prepare_low_rank(
    operator: DampedOperator, factored: FactoredOperator, factor: Factor
) -> Solve:
    """With F of few columns before, and K by sweeps."""
    root, remaining_trace = factor["root"].to(operator.like.device), float(factor["left"])
    damping, weight = operator.damping, operator.damping * factored.count
    small = root.T @ root
    small.diagonal().add_(weight)
    lower, _ = torch.linalg.cholesky_ex(small)  # positive definite; NaN stays NaN

    def inverse(vectors: Tensor) -> Tensor:
        return (vectors - torch.cholesky_solve(root.T @ vectors.T, lower).T @ root.T) / weight

    def error_norm(error: Tensor) -> Tensor:
        """At least as long as b - A x, which is Rᵀ times the error over λ m."""
        return (
            (error @ root).square().sum(1) + remaining_trace * error.square().sum(1)
        ).sqrt() / weight

    def solve(rhs: Tensor) -> Solution:
        projected, target = apply_factor(factored, rhs), TARGET_RESIDUAL * row_norms(rhs).double()
        system = DampedOperator(GramOperator(factored), weight)
        dual, steps = conjugate_gradients(system, projected, inverse, target, MAX_STEPS, error_norm)
        value = apply_factor_transpose(factored, -dual, rhs.clone()).div_(damping)
        residual = measure_residual(operator, value, rhs)
        return Solution(value, residual, residual <= CONVERGENCE_TOLERANCE, 3 + 2 * steps, damping)

    return solve


def _require_factored(operator: DampedOperator) -> FactoredOperator:
    if not isinstance(operator.operator, FactoredOperator) or not operator.damping > 0:
        raise InputError(
            "solver dual",
            "a Gauss-Newton curvature and a damping > 0",
            f"{type(operator.operator).__name__} with damping {operator.damping}",
            'Set kind = "gauss-newton" and a positive damping, or use kind = "cg" or "lissa".',
        )
    return operator.operator


def _check_order(factor: Factor, factored: FactoredOperator) -> None:
    """Refuse a factor whose rows stand in another order than the operator gives its own in."""
    factor_batch_size = int(factor["batch_size"])
    if factor_batch_size != factored.batch_size:
        raise InputError(
            "solver dual",
            f"a factor taken with batch size {factored.batch_size}, as the operator has now",
            f"one taken with {factor_batch_size}",
            "Factor again, or give the operator's examples the batch size of the factor.",
        )
