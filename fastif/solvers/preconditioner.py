"""Preconditioners of the iterative solvers: spectral, importance-sampled Gauss-Newton, EK-FAC."""

from dataclasses import dataclass

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
from fastif.solvers.settings import Preconditioner
from fastif.solvers.solver import Factor

EKFAC_SWEEPS = 3
"""Passes over the examples for a fit of EK-FAC: two, and about one for the eigenvectors."""


@dataclass(frozen=True)
class PreconditionerCost:
    """Estimated cost of a preconditioner.

    Attributes:
        sweeps: Number of passes over the curvature's examples to fit it.
        speedup: Assumed factor by which it reduces the steps of conjugate gradients.
        working_bytes: Memory in bytes while it is used.
        factor_bytes: Size on disk in bytes; small ones count as 0.
    """

    sweeps: int = 0
    speedup: int = 1
    working_bytes: int = 0
    factor_bytes: int = 0


def estimate_preconditioner_cost(
    kind: Preconditioner, rank: int, problem: SolverProblem
) -> PreconditionerCost:
    """Estimate the cost of fitting and applying a preconditioner, for a forecast."""
    p = problem.parameters
    if kind == "ekfac":
        return PreconditionerCost(EKFAC_SWEEPS)
    if kind == "eigen":
        vector_bytes = min(rank, p) * p * FLOAT32_BYTES
        return PreconditionerCost(2, 5, 3 * vector_bytes, vector_bytes)
    if kind == "drawn":  # one pass to sample the factor rows, and they are few
        return PreconditionerCost(2, 5, estimate_kernel_bytes(min(rank, problem.factor_rows), p))
    return PreconditionerCost()


def check_preconditioner(kind: Preconditioner, operator: DampedOperator, rank: int) -> None:
    """Refuse an operator for which this kind of preconditioner cannot be made.

    Raises:
        InputError: If EK-FAC or factor rows are requested for a curvature that is neither a
            Gauss-Newton matrix nor a Hessian, there are too many factor rows, or the damping is 0.
    """
    if kind in ("ekfac", "drawn") and not isinstance(_gauss_newton(operator), GaussNewton):
        raise InputError(
            "[solver] preconditioner",
            "a Gauss-Newton curvature or a Hessian, which have a GGN factor",
            type(operator.operator).__name__,
            'Use preconditioner = "eigen", or "none".',
        )
    if kind == "drawn":
        check_row_count(rank)
    if kind != "none" and not operator.damping > 0:
        raise InputError(
            "[solver] preconditioner",
            "a damping > 0, without which the preconditioner is singular",
            f"{operator.damping}",
            'Set a positive damping, say 0.1, or preconditioner = "none".',
        )


def fit_preconditioner(kind: Preconditioner, operator: DampedOperator, rank: int) -> Factor:
    """Fit a preconditioner and return its tensors, which serve every damping.

    Raises:
        InputError: If the operator does not support it, see `check_preconditioner`.
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
    """Return the function that multiplies residuals by P⁻¹."""
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
    """Return the Gauss-Newton matrix of a Hessian's examples; any other operator unchanged."""
    inner = operator.operator
    if isinstance(inner, Hessian):
        return GaussNewton(inner.objective, inner.examples, inner.ids)
    return inner
