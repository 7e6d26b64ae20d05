"""Dual solve with the whole Gram matrix, and its iterative refinement."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator, FactoredOperator
from fastif.numerics.blocked_dot import row_norms
from fastif.solvers.dual_scores import CONVERGENCE_TOLERANCE
from fastif.solvers.gram import (
    ShiftedInverse,
    apply_factor,
    apply_factor_transpose,
    gram_norms,
    make_shifted_inverse,
)
from fastif.solvers.settings import Products
from fastif.solvers.solver import Factor, Solution, safe_ratio

MAX_REFINEMENTS = 4
"""Largest number of refinements, of two passes over the factor rows each."""

ESTIMATE_MARGIN = 2
"""Factor on the norm of the kernel's error, which is estimated from a few random vectors."""


@dataclass(frozen=True, eq=False)
class ExactDualSolve:
    """Dual solve with a Gram matrix K in any precision, by iterative refinement (Wilkinson, 1963).

        (K + w I) y = V b,    x = (b - Vᵀ y) / λ,    e = y - V x / n,    w = λn

    For every y, exact or not, the residual is b - (A + λI) x = Vᵀ e, so its norm is √(eᵀ K e), and
    that of the small system is w e. Where K and V b have errors, both are reduced by

        y ← y - w (K + w I)⁻¹ e,    x ← x + w / λ · Vᵀ (K + w I)⁻¹ e

    with the K at hand. A refinement takes two passes over V, and multiplies the error by about ‖δK‖
    / w for an error δK of K. The products Vᵀ y and V x, in which errors would remain, are in single
    precision.

    With K in lower precision, √(eᵀ K e + ‖δK‖_F ‖e‖²) bounds the residual from above. The norm is
    that of a `RoundingEstimator`.

    Attributes:
        factored: Curvature without damping, G = VᵀV / n.
        damping: Effective damping λ.
        kernel: Gram matrix K.
        inverse: Function that multiplies by (K + w I)⁻¹.
        products: Precision of K and V b.
        kernel_error: Norm ‖δK‖_F of the error of K; 0 for one in single precision.
    """

    factored: FactoredOperator
    damping: float
    kernel: Float[Tensor, "r r"]
    inverse: ShiftedInverse
    products: Products
    kernel_error: float

    def __call__(self, rhs: Float[Tensor, "q p"]) -> Solution:
        """Overwrite right-hand sides with their solutions."""
        norms, value, steps = row_norms(rhs), rhs, 3
        dual = self.inverse(apply_factor(self.factored, rhs, self.products))
        apply_factor_transpose(self.factored, -dual, value).div_(self.damping)
        error = self._compute_error(dual, value)
        residual = self._measure(error, norms)
        for _ in range(MAX_REFINEMENTS):
            pending = residual > CONVERGENCE_TOLERANCE
            if not bool(pending.any()):
                break
            previous, step = residual, self.inverse(error) * pending[:, None]
            dual -= self.damping * self.factored.count * step
            apply_factor_transpose(self.factored, self.factored.count * step, value)
            error, steps = self._compute_error(dual, value), steps + 2
            residual = self._measure(error, norms)
            if not bool((residual < previous / 2).any()):
                break
        converged = residual <= CONVERGENCE_TOLERANCE
        return Solution(value, residual, converged, steps, self.damping)

    def _compute_error(
        self, dual: Float[Tensor, "q r"], value: Float[Tensor, "q p"]
    ) -> Float[Tensor, "q r"]:
        """Return e = y - V x / n."""
        return dual - apply_factor(self.factored, value) / self.factored.count

    def _measure(self, error: Float[Tensor, "q r"], norms: Float[Tensor, " q"]) -> Tensor:
        """Return the relative residuals."""
        residual = gram_norms(error, self.kernel)
        if self.kernel_error:
            bound = self.kernel_error * error.square().sum(1)
            residual = (residual.square() + bound).sqrt()
        return safe_ratio(residual.to(norms.dtype), norms)


def make_exact_solve(
    operator: DampedOperator, factored: FactoredOperator, factor: Factor, products: Products
) -> ExactDualSolve:
    """Factorise K and return the solve, which overwrites its right-hand sides."""
    kernel = factor["kernel"].to(operator.like.device)
    inverse = make_shifted_inverse(kernel, operator.damping * factored.count)
    kernel_error = 0.0 if products == "single" else ESTIMATE_MARGIN * float(factor["rounding"][0])
    return ExactDualSolve(factored, operator.damping, kernel, inverse, products, kernel_error)
