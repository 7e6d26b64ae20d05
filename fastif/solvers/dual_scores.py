"""Scores of all training examples from a system with one unknown a root row, and no s_test."""

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
"""Relative residual that rounding may add; beyond it s_test is computed and looked at instead."""


@dataclass(frozen=True, eq=False)
class DualScorer:
    """One sweep a set of queries: with P = R b, everything follows from K = R Rᵀ.

    With w = λ m and (w I + K) y = P, the solution is x = (b - Rᵀ y) / λ. It is never made, for

        R x = m y,    bᵀ x = (‖b‖² - yᵀ P) / λ,    ‖x‖² = (bᵀ x - m ‖y‖²) / λ,

    and ∇L(i) = Σ u_r R_r over an example's few root rows, so its score is m Σ u_r y_r; with the
    leverage of each example, other weights take the place of u (`Leverage`). Where x is
    much shorter than b / λ the last two are differences of nearly equal numbers, and no more exact
    than the rounding of P; they are evidence, no score.

    The residual is ‖Rᵀ e‖ for e = y - R x / m = -(P - (w I + K) y) / w, as K has it, and
    √‖K‖ (‖δK‖ ‖y‖ + ε ‖b‖) / w for rounding: δK that of K, ε that of a product with root rows, both
    measured by `RoundingEstimator`. ‖K‖ is the largest eigenvalue, so every error counts as if it
    lay in its direction; ‖δK‖ is 2 ‖δK‖_F / √r, that of a matrix whose r² errors have nothing in
    common.
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
    """None if rounding might add more than `MAX_ROUNDING` to a residual, or K is not finite.

    Args:
        operator: the damped curvature, over all training examples.
        factored: the same without damping.
        coefficients: how loss gradients are made of its root rows.
        count: n, training examples.
        kernel: K.
        rounding: as a `RoundingEstimator` measured it: ‖δK‖_F, and ε.
    """
    weight = operator.damping * factored.count
    matrix, product = rounding.tolist()
    if not math.isfinite(matrix + product):
        return None
    rounding_scale = math.sqrt(max_eigenvalue(DenseOperator(kernel))) / weight
    matrix *= 2 / math.sqrt(len(kernel))
    # ‖y‖ / ‖b‖ is at most 1 / (2 √w): no singular value of (w + R Rᵀ)⁻¹ R is larger.
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
