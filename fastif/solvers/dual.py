"""Dual solver: the exact damped Gauss-Newton inverse by the Woodbury identity."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator, FactoredOperator
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.numerics.blocked_dot import row_norms
from fastif.solvers.cg import conjugate_gradients
from fastif.solvers.cost import (
    FLOAT32_BYTES,
    FLOAT64_BYTES,
    KERNEL_COPIES,
    SolverCost,
    SolverProblem,
)
from fastif.solvers.dual_scores import CONVERGENCE_TOLERANCE, make_dual_scorer
from fastif.solvers.exact_dual_solve import make_exact_solve
from fastif.solvers.gram import (
    GramOperator,
    RoundingEstimator,
    apply_factor,
    apply_factor_transpose,
    compute_gram_matrix,
)
from fastif.solvers.in_place import InPlaceSolver, copy_aligned, solve_finite_in_place
from fastif.solvers.pivoted_cholesky import randomly_pivoted_cholesky
from fastif.solvers.product_precision import check_products
from fastif.solvers.settings import MEGABYTE, DualSettings
from fastif.solvers.solver import (
    Factor,
    ScoreFn,
    Solution,
    Solve,
    measure_residual,
    solve_finite_rows,
)

TARGET_RESIDUAL = 1e-3
"""Relative residual to which a low-rank solution is refined by conjugate gradients."""

MAX_STEPS = 20
EXACT_SWEEPS, LOW_RANK_SWEEPS, KERNEL_COLUMNS = 3, 7, 64
"""Passes of an exact solve and (assumed) of a low-rank one; pivot columns of one pass."""
TRACE_TOLERANCE = 0.1
"""Trace of K - F Fᵀ, relative to λn, below which one or two steps of refinement are enough."""


@dataclass(frozen=True)
class Dual(DualSettings, InPlaceSolver):
    """Dual solver: the exact damped Gauss-Newton inverse by the Woodbury identity.

        (VᵀV / n + λI)⁻¹ b = (b - Vᵀ (K + λn I)⁻¹ V b) / λ,    K = V Vᵀ

    V [r p] is the GGN factor of n examples, with r = n · (labels - 1) rows for softmax. The linear
    system has r unknowns in place of p parameters. K [r r] is the Gram matrix of the factor rows.
    It is computed block by block, so V is never in memory as a whole. A solve takes three passes
    over V, for all right-hand sides together.

    With a `rank` k, only k columns of K are computed: K ≈ F Fᵀ with F [r k] from randomly pivoted
    Cholesky. This takes k / r of the memory, and one pass for every 64 columns or so. The system is
    still solved with K itself, which is applied by two passes, by conjugate gradients with the
    preconditioner (F Fᵀ + λn I)⁻¹ (Frangella, Tropp and Udell, 2023), to a relative residual of
    1e-3. The rank therefore decides the number of passes and not the accuracy. One step is enough
    when the trace of K - F Fᵀ is below λn, and F stops growing there.

    The residual is measured. For exact K this takes a third pass, but no third set of vectors: with
    y the solution of the small system and e = y - V x / n, the residual is b - (A + λI) x = Vᵀ e,
    with norm √(eᵀ K e).

    If K is the kernel of the whole training set, one pass gives the scores of all training
    examples, without s_test and without a pass over the training gradients: see `prepare_scores`
    and `DualScorer`.

    Args:
        block_rows: Number of examples with factor rows in memory while K is computed.
        rank: Largest number k of columns of K to compute; all of them by default.
        memory_mb: Limit of 8 bytes x r² (8 bytes x r · k with a rank), in megabytes (1e6 bytes).
        products: Precision of the products of K and of V b: "single", "tf32" on a GPU, or "bf16" on
            a CPU. The solution is refined, and its residual measured, in single precision, see
            `ExactDualSolve`. Not with a rank.
        kind: Name of the solver in a study file.

    Raises:
        InputError: If a hyper-parameter is out of range; from `solve`, if the curvature has no
            factor, λ is 0, K exceeds `memory_mb`, or the device has no such products.

    Examples:
        >>> from fastif import GaussNewton, ModuleObjective, SquaredError, TensorExamples
        >>> points = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> examples = TensorExamples(points, torch.zeros(2, 1))
        >>> curvature = GaussNewton(ModuleObjective(model, SquaredError()), examples)
        >>> operator = curvature.with_damping(1.0)
        >>> Dual().solve(operator, torch.ones(1, 2)).value  # 1 / (x² + λ)
        tensor([[0.5000, 0.2000]])
    """

    @property
    def factor_fields(self) -> tuple[str, ...]:  # type: ignore[override]
        """Rank, and the precision of the products below single: older keys do not have it."""
        return ("rank",) if self.products == "single" else ("rank", "products")

    @property
    def factor_depends_on_damping(self) -> bool:  # type: ignore[override]
        """Whether the factor is low-rank: its accuracy depends on λ; K itself does not."""
        return self.rank is not None

    def check(self, operator: DampedOperator) -> None:
        factored = _require_factored(operator)
        check_products(self.products, operator.like.device)
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
            scores_in_one_sweep=is_exact
            and self.products == "single"
            and problem.rows == problem.train,
        )

    def _count_factor_examples(self, problem: SolverProblem) -> int:
        """Count per-example gradients: each block meets all later ones; a rank takes passes."""
        if self.rank is not None:
            sweeps = 2 + min(self.rank, problem.factor_rows) // KERNEL_COLUMNS
            return problem.rows * sweeps
        block = max(1, self.block_rows // problem.batch_size) * problem.batch_size
        return sum(problem.rows - start for start in range(0, problem.rows, block))

    def factor(self, operator: DampedOperator) -> Factor:
        """Return K and its rounding error, or F and the trace that it leaves out."""
        factored = _require_factored(operator)
        batch_size_entry = {"batch_size": torch.tensor(factored.batch_size)}
        self.check(operator)
        if self.rank is None:
            held_count = max(1, self.block_rows // factored.batch_size)
            estimator = RoundingEstimator(factored)
            kernel = compute_gram_matrix(factored, held_count, estimator, self.products)
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
        check_factor_order(operator_factor, factored)
        if self.rank is None:
            exact = make_exact_solve(operator, factored, operator_factor, self.products)
            return lambda rhs: solve_finite_rows(
                operator, rhs, lambda rows: exact(copy_aligned(rows))
            )
        solve = _prepare_low_rank(operator, factored, operator_factor)
        return lambda rhs: solve_finite_rows(operator, rhs, solve)

    def prepare_in_place(
        self,
        operator: DampedOperator,
        factor: Factor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Solve:
        """Return the function of `prepare`; without a rank it overwrites right-hand sides with x.

        These solutions keep the type of the right-hand sides.
        """
        if self.rank is not None:
            return self.prepare(operator, factor)
        factored = _require_factored(operator)
        operator_factor = self.factor(operator) if factor is None else factor
        check_factor_order(operator_factor, factored)
        solve = make_exact_solve(operator, factored, operator_factor, self.products)
        return lambda rhs: solve_finite_in_place(rhs, solve)

    def prepare_scores(
        self, operator: DampedOperator, train: Examples, factor: Factor | None = None
    ) -> ScoreFn | None:
        factored = _require_factored(operator)
        has_exact_kernel = self.rank is None and self.products == "single"
        coefficients = factored.compute_factor_coefficients(train) if has_exact_kernel else None
        if coefficients is None:
            return None
        operator_factor = self.factor(operator) if factor is None else factor
        check_factor_order(operator_factor, factored)
        if "rounding" not in operator_factor:
            return None
        kernel = operator_factor["kernel"].to(operator.like.device)
        return make_dual_scorer(
            operator, factored, coefficients, len(train), kernel, operator_factor["rounding"]
        )

    def _check_size(self, count: int, columns: int) -> None:
        rows, max_numbers = count * columns, self.memory_mb * MEGABYTE // 8
        needed = self.count_megabytes(rows)
        if needed <= self.memory_mb:
            return
        max_rows = math.isqrt(max_numbers) if self.rank is None else max_numbers // self.rank
        raise InputError(
            "solver dual",
            f"at most {max_rows} rows of the GGN factor, examples of the curvature x "
            f"(labels - 1), for memory_mb = {self.memory_mb}",
            f"{count} x {columns} = {rows}",
            'Set kind = "cg", preconditioner = "drawn" and rank = 4000, for a smaller Gram matrix; '
            f"or set [curvature] rows to {max_rows // columns} or less, a smaller rank (now "
            f"{self.rank or 'none, for all columns'}), or memory_mb = {needed}.",
        )


def _prepare_low_rank(
    operator: DampedOperator, factored: FactoredOperator, factor: Factor
) -> Solve:
    """Solve with K applied in passes, preconditioned with F Fᵀ + λn I."""
    root, remaining_trace = factor["root"].to(operator.like.device), float(factor["left"])
    damping, weight = operator.damping, operator.damping * factored.count
    small = root.T @ root
    small.diagonal().add_(weight)
    lower, _ = torch.linalg.cholesky_ex(small)  # positive definite; NaN propagates

    def inverse(vectors: Tensor) -> Tensor:
        return (vectors - torch.cholesky_solve(root.T @ vectors.T, lower).T @ root.T) / weight

    def error_norm(error: Tensor) -> Tensor:
        """Return an upper bound of ‖b - (A + λI) x‖: the residual is Vᵀ error / (λn)."""
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


def check_factor_order(factor: Factor, factored: FactoredOperator) -> None:
    """Refuse a factor with rows in another order than those of the operator."""
    factor_batch_size = int(factor["batch_size"])
    if factor_batch_size != factored.batch_size:
        raise InputError(
            "solver dual",
            f"a factor computed with batch size {factored.batch_size}, that of the operator",
            f"a factor computed with batch size {factor_batch_size}",
            "Compute the factor again, or set the batch size of the operator's examples to that "
            "of the factor.",
        )
