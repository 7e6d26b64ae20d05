"""The exact damped Gauss-Newton inverse, in the space of examples."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import Damped, Rooted
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.numerics.blocked_dot import lengths
from fastif.solvers.cg import conjugate_gradients
from fastif.solvers.dual_scores import CONVERGED, kernel_scores
from fastif.solvers.gram import (
    Kernel,
    Probe,
    add_spread,
    kernel_matrix,
    kernel_norms,
    project,
    shifted_inverse,
)
from fastif.solvers.pivoted_cholesky import low_rank_root
from fastif.solvers.solver import (
    Factor,
    ScoreAll,
    Solution,
    Solve,
    Solver,
    check_positive,
    measured_residual,
    on_finite_rows,
    relative,
)

MEGABYTE = 10**6
GOAL = 1e-3
"""Relative residual to which the answer of a low-rank factor is refined."""

MOST_STEPS = 20
ENOUGH = 0.1
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
    without x and without a pass to score: see `prepare_scores` and `KernelScores`.

    Args:
        block_rows: examples whose root rows are held while K is filled.
        rank: r at most; None fills all of K.
        memory_mb: 8 bytes x n² (with a rank: n x r) may be so many megabytes.

    >>> from fastif import GaussNewton, ModuleObjective, SquaredError, TensorExamples
    >>> points = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> examples = TensorExamples(points, torch.zeros(2, 1))
    >>> operator = GaussNewton(ModuleObjective(model, SquaredError()), examples).damped(1.0)
    >>> Dual().solve(operator, torch.ones(1, 2)).value  # 1 / (x² + λ)
    tensor([[0.5000, 0.2000]])
    """

    factor_fields: ClassVar[tuple[str, ...]] = ("rank",)

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

    def check(self, operator: Damped) -> None:
        rooted = _rooted(operator)
        self._check_size(rooted.count, rooted.columns)

    def factor(self, operator: Damped) -> Factor:
        """K and its rounding, or F and the trace it leaves out."""
        rooted = _rooted(operator)
        made = {"batch_size": torch.tensor(rooted.batch_size)}
        self._check_size(rooted.count, rooted.columns)
        if self.rank is None:
            held = max(1, self.block_rows // rooted.batch_size)
            probe = Probe(rooted)
            kernel = kernel_matrix(rooted, held, probe)
            return {"kernel": kernel, "rounding": probe.rounding(kernel), **made}
        enough = ENOUGH * operator.damping * rooted.count
        held = self.block_rows * rooted.columns
        root, left = low_rank_root(rooted, self.rank, enough, held)
        return {"root": root, "left": torch.tensor(left, dtype=torch.float64), **made}

    def solve(
        self, operator: Damped, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        return self.prepare(operator, factor)(rhs)

    def prepare(self, operator: Damped, factor: Factor | None = None) -> Solve:
        rooted = _rooted(operator)
        made = self.factor(operator) if factor is None else factor
        _check_order(made, rooted)
        build = _by_kernel if self.rank is None else _by_root
        solve = build(operator, rooted, made)
        return lambda rhs: on_finite_rows(operator, rhs, solve)

    def prepare_scores(
        self, operator: Damped, train: Examples, factor: Factor | None = None
    ) -> ScoreAll | None:
        rooted = _rooted(operator)
        at = None if self.rank is not None else rooted.in_roots(train)
        if at is None:
            return None
        made = self.factor(operator) if factor is None else factor
        _check_order(made, rooted)
        if "rounding" not in made:
            return None
        kernel = made["kernel"].to(operator.like.device)
        return kernel_scores(operator, rooted, at, len(train), kernel, made["rounding"])

    def _check_size(self, count: int, columns: int) -> None:
        rows, numbers = count * columns, self.memory_mb * MEGABYTE // 8
        if rows * min(rows, self.rank or rows) <= numbers:
            return
        fit = math.isqrt(numbers) if self.rank is None else numbers // self.rank
        needed = -(-8 * rows * min(rows, self.rank or rows) // MEGABYTE)
        raise InputError(
            "solver dual",
            f"at most {fit} root rows, examples of the curvature x (classes - 1), "
            f"for memory_mb = {self.memory_mb}",
            f"{count} x {columns} = {rows}",
            'Take kind = "cg", preconditioner = "drawn" and rank = 4000, with a smaller kernel; or '
            f"set [curvature] rows to {fit // columns} or less, a smaller rank (now "
            f"{self.rank or 'none, which is all'}), or memory_mb = {needed}.",
        )


def _by_kernel(operator: Damped, rooted: Rooted, factor: Factor) -> Solve:
    """With K itself; it is factorised once."""
    kernel = factor["kernel"].to(operator.like.device)
    damping, weight = operator.damping, operator.damping * rooted.count
    inverse = shifted_inverse(kernel, weight)

    def solve(rhs: Tensor) -> Solution:
        dual = inverse(project(rooted, rhs))
        value = add_spread(rooted, -dual, rhs.clone()).div_(damping)
        error = dual - project(rooted, value) / rooted.count
        length = kernel_norms(error, kernel).to(rhs.dtype)
        residual = relative(length, lengths(rhs))
        return Solution(value, residual, residual <= CONVERGED, 3, damping)

    return solve


def _by_root(operator: Damped, rooted: Rooted, factor: Factor) -> Solve:
    """With F of few columns before, and K by sweeps."""
    root, left = factor["root"].to(operator.like.device), float(factor["left"])
    damping, weight = operator.damping, operator.damping * rooted.count
    small = root.T @ root
    small.diagonal().add_(weight)
    lower, _ = torch.linalg.cholesky_ex(small)  # positive definite; NaN stays NaN

    def inverse(rows: Tensor) -> Tensor:
        return (rows - torch.cholesky_solve(root.T @ rows.T, lower).T @ root.T) / weight

    def length(error: Tensor) -> Tensor:
        """At least as long as b - A x, which is Rᵀ times the error over λ m."""
        return ((error @ root).square().sum(1) + left * error.square().sum(1)).sqrt() / weight

    def solve(rhs: Tensor) -> Solution:
        projected, goal = project(rooted, rhs), GOAL * lengths(rhs).double()
        system = Damped(Kernel(rooted), weight)
        dual, steps = conjugate_gradients(system, projected, inverse, goal, MOST_STEPS, length)
        value = add_spread(rooted, -dual, rhs.clone()).div_(damping)
        residual = measured_residual(operator, value, rhs)
        return Solution(value, residual, residual <= CONVERGED, 3 + 2 * steps, damping)

    return solve


def _rooted(operator: Damped) -> Rooted:
    if not isinstance(operator.operator, Rooted) or not operator.damping > 0:
        raise InputError(
            "solver dual",
            "a Gauss-Newton curvature and a damping > 0",
            f"{type(operator.operator).__name__} with damping {operator.damping}",
            'Set kind = "gauss-newton" and a positive damping, or use kind = "cg" or "lissa".',
        )
    return operator.operator


def _check_order(factor: Factor, rooted: Rooted) -> None:
    """Refuse a factor whose rows stand in another order than the operator gives its own in."""
    taken_with = int(factor["batch_size"])
    if taken_with != rooted.batch_size:
        raise InputError(
            "solver dual",
            f"a factor taken with batch size {rooted.batch_size}, as the operator has now",
            f"one taken with {taken_with}",
            "Factor again, or give the operator the batch size of the factor.",
        )
