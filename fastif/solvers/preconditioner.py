"""What stands before the operator in an iterative solver: nothing, or an approximate inverse."""

from dataclasses import dataclass
from typing import Literal

from fastif.curvature.ekfac.ekfac import Ekfac
from fastif.curvature.ggn import GaussNewton
from fastif.curvature.hessian import Hessian
from fastif.curvature.operator import DampedOperator, LinearOperator
from fastif.errors import InputError
from fastif.solvers.cost import FLOAT32_BYTES, SolverProblem, estimate_kernel_bytes
from fastif.solvers.lanczos import Inverse, identity
from fastif.solvers.randomized_eigh import apply_spectral_preconditioner, compute_eigenpairs
from fastif.solvers.sampled_preconditioner import (
    check_row_count,
    fit_sampled_factor,
    make_sampled_inverse,
)
from fastif.solvers.solver import Factor

Preconditioner = Literal["none", "ekfac", "eigen", "drawn"]

EKFAC_SWEEPS = 3
"""Sweeps that a fit of EK-FAC costs: two passes, and the eigenvectors."""


@dataclass(frozen=True)
class PreconditionerCost:
    """What a preconditioner takes.

    Attributes:
        sweeps: over the curvature's rows, to fit it.
        speedup: factor of fewer steps of conjugate gradients with it; a guess.
        working_bytes: memory that it takes.
        factor_bytes: of it on disk; small ones count as 0.
    """

    sweeps: int = 0
    speedup: int = 1
    working_bytes: int = 0
    factor_bytes: int = 0


def estimate_preconditioner_cost(
    kind: Preconditioner, rank: int, problem: SolverProblem
) -> PreconditionerCost:
    """What fitting and holding it take, for a forecast."""
    p = problem.parameters
    if kind == "ekfac":
        return PreconditionerCost(EKFAC_SWEEPS)
    if kind == "eigen":
        vector_bytes = min(rank, p) * p * FLOAT32_BYTES
        return PreconditionerCost(2, 5, 3 * vector_bytes, vector_bytes)
    if kind == "drawn":  # one sweep to draw the rows, and they are few
        return PreconditionerCost(2, 5, estimate_kernel_bytes(min(rank, problem.factor_rows), p))
    return PreconditionerCost()


def check_preconditioner(kind: Preconditioner, operator: DampedOperator, rank: int) -> None:
    """Refuse an operator that the preconditioner knows nothing of.

    Raises:
        InputError: EK-FAC or root rows of neither a Gauss-Newton matrix nor a Hessian; too many
            root rows; or there is no damping.
    """
    if kind in ("ekfac", "drawn") and not isinstance(_gauss_newton(operator), GaussNewton):
        raise InputError(
            "[solver] preconditioner",
            "a Gauss-Newton curvature or a Hessian, which has root rows",
            type(operator.operator).__name__,
            'Use preconditioner = "eigen", or "none".',
        )
    if kind == "drawn":
        check_row_count(rank)
    if kind != "none" and not operator.damping > 0:
        raise InputError(
            "[solver] preconditioner",
            "a damping > 0, without which it cannot be inverted",
            f"{operator.damping}",
            'Set a positive damping, say 0.1, or preconditioner = "none".',
        )


def fit_preconditioner(kind: Preconditioner, operator: DampedOperator, rank: int) -> Factor:
    """What `make_preconditioner_inverse` needs, as tensors; it serves every damping.

    Raises:
        InputError: see `check_preconditioner`.
    """
    check_preconditioner(kind, operator, rank)
    curvature = _gauss_newton(operator)
    if kind == "ekfac":
        assert isinstance(curvature, GaussNewton)  # as checked
        return Ekfac.fit(curvature).state_dict()
    if kind == "eigen":
        vectors, values = compute_eigenpairs(curvature, rank)
        return {"vectors": vectors, "values": values}
    if kind == "drawn":
        assert isinstance(curvature, GaussNewton)
        return fit_sampled_factor(curvature, rank)
    return {}


def make_preconditioner_inverse(
    kind: Preconditioner, operator: DampedOperator, factor: Factor
) -> Inverse:
    """What the solver applies to its residuals."""
    curvature, damping = _gauss_newton(operator), operator.damping
    if kind == "ekfac":
        assert isinstance(curvature, GaussNewton)
        ekfac = Ekfac.from_state_dict(factor, curvature.objective.space, operator.like)
        return lambda rows: ekfac.apply_inverse(rows, damping)
    if kind == "eigen":
        vectors, values = (factor[name].to(operator.like) for name in ("vectors", "values"))
        return lambda rows: apply_spectral_preconditioner(rows, vectors, values, damping)
    if kind == "drawn":
        assert isinstance(curvature, GaussNewton)
        return make_sampled_inverse(curvature, factor, damping)
    return identity


def _gauss_newton(operator: DampedOperator) -> LinearOperator:
    """Of a Hessian the Gauss-Newton matrix of its examples; any other operator as it is."""
    inner = operator.operator
    if isinstance(inner, Hessian):
        return GaussNewton(inner.objective, inner.examples, inner.ids)
    return inner
