"""Scores of all training examples from the dual system, without computing s_test."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import (
    DampedOperator,
    DenseOperator,
    FactorCoefficients,
    FactoredOperator,
)
from fastif.numerics.blocked_dot import row_norms
from fastif.solvers.gram import (
    ShiftedInverse,
    apply_factor,
    gram_norms,
    make_shifted_inverse,
    matmul_f64,
)
from fastif.solvers.lanczos import max_eigenvalue
from fastif.solvers.solver import TrainingScores, safe_ratio

CONVERGENCE_TOLERANCE = 1e-2
MAX_ROUNDING = 5e-3
"""Relative residual that rounding may add; above it, s_test is computed and measured instead."""


@dataclass(frozen=True, eq=False)
class DualScorer:
    """Dual scoring of all training examples, with one pass over V for each set of queries.

    Let P = V b, w = λn and (K + w I) y = P with the Gram matrix K = V Vᵀ. The solution x = (b - Vᵀ
    y) / λ is never formed, because

        V x = n y,    bᵀ x = (‖b‖² - yᵀ P) / λ,    ‖x‖² = (bᵀ x - n ‖y‖²) / λ

    With ∇L(i) = Σ u_j V_j over the factor rows of example i, its score is n Σ u_j y_j.
    Leverage-corrected scores replace the coefficients u (see `Leverage`). If x is much shorter than
    b / λ, bᵀ x and ‖x‖² are differences of nearly equal numbers, and only as accurate as the
    rounding of P. They are diagnostics and enter no score.

    The residual is ‖Vᵀ e‖ with e = y - V x / n = -(P - (K + w I) y) / w, measured through K, plus
    the rounding bound √‖K‖ (‖δK‖ ‖y‖ + ε ‖b‖) / w. `RoundingEstimator` measures the error δK of K
    and the relative error ε of products with factor rows. ‖K‖ is its largest eigenvalue, so every
    error counts as if it were in that direction. ‖δK‖ is estimated as 2 ‖δK‖_F / √r, the spectral
    norm of a matrix of r² independent errors. The rounding of b and of the scores themselves, which
    no product shows, counts as one unit in the last place of ‖b‖.

    Attributes:
        factored: Curvature without damping, G = VᵀV / n over all training examples.
        damping: Effective damping λ.
        coefficients: Coefficients u of the loss gradients in the factor rows.
        count: Number n of training examples.
        kernel: Gram matrix K.
        inverse: Function that multiplies by (K + λn I)⁻¹.
        rounding: Measured rounding errors, ‖δK‖ and ε.
        rounding_scale: Factor √‖K‖ / w of the rounding bound.
        score_coefficients: Coefficients that replace u in the scores; None for u itself.
    """

    factored: FactoredOperator
    damping: float
    coefficients: FactorCoefficients
    count: int
    kernel: Float[Tensor, "r r"]
    inverse: ShiftedInverse
    rounding: Float[Tensor, " 2"]
    rounding_scale: float
    score_coefficients: FactorCoefficients | None = None

    def __call__(self, rhs: Float[Tensor, "q p"]) -> TrainingScores:
        projected, rhs_norms = apply_factor(self.factored, rhs), row_norms(rhs).double()
        dual, example_count = self.inverse(projected), self.factored.count
        weight = self.damping * example_count
        error = (matmul_f64(dual, self.kernel) + weight * dual - projected) / weight
        dual_norms, (matrix, product) = dual.norm(dim=1), self.rounding.tolist()
        rounding_error = self.rounding_scale * (matrix * dual_norms + product * rhs_norms)
        rounding_error += torch.finfo(rhs.dtype).eps * rhs_norms
        residual = safe_ratio(gram_norms(error, self.kernel) + rounding_error, rhs_norms)
        product_with_rhs = (rhs_norms.square() - (dual * projected).sum(1)) / self.damping
        squared_norms = (product_with_rhs - example_count * dual_norms.square()) / self.damping
        return TrainingScores(
            self._sum_by_example(
                example_count * dual, rhs, self.score_coefficients or self.coefficients
            ),
            self._sum_by_example(projected, rhs, self.coefficients),
            residual.to(rhs.dtype),
            residual <= CONVERGENCE_TOLERANCE,
            squared_norms.clamp_min(0).sqrt().to(rhs.dtype),
            product_with_rhs.to(rhs.dtype),
            self.damping,
        )

    def _sum_by_example(
        self, values: Tensor, rhs: Tensor, coefficients: FactorCoefficients
    ) -> Float[Tensor, "q n"]:
        return coefficients.sum_by_example(values, self.count).to(rhs.dtype)


def make_dual_scorer(
    operator: DampedOperator,
    factored: FactoredOperator,
    coefficients: FactorCoefficients,
    count: int,
    kernel: Float[Tensor, "r r"],
    rounding: Float[Tensor, " 2"],
) -> DualScorer | None:
    """Return a `DualScorer`; None if rounding could add more than `MAX_ROUNDING` to a residual.

    It is None too if K is not finite.

    Args:
        operator: Damped curvature, over all training examples.
        factored: Curvature without damping.
        coefficients: Coefficients u of the loss gradients in the factor rows.
        count: Number n of training examples.
        kernel: Gram matrix K.
        rounding: Estimates ‖δK‖_F and ε of a `RoundingEstimator`.
    """
    weight = operator.damping * factored.count
    matrix, product = rounding.tolist()
    if not math.isfinite(matrix + product):
        return None
    rounding_scale = math.sqrt(max_eigenvalue(DenseOperator(kernel))) / weight
    matrix *= 2 / math.sqrt(len(kernel))
    # ‖y‖ / ‖b‖ is at most 1 / (2 √w), the largest singular value of (V Vᵀ + w I)⁻¹ V.
    if rounding_scale * (product + matrix / (2 * math.sqrt(weight))) > MAX_ROUNDING:
        return None
    measured_rounding = torch.tensor([matrix, product], dtype=torch.float64)
    inverse = make_shifted_inverse(kernel, weight)
    return DualScorer(
        factored,
        operator.damping,
        coefficients,
        count,
        kernel,
        inverse,
        measured_rounding,
        rounding_scale,
    )
