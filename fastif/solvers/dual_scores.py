"""Scores of all training examples from a system with one unknown a root row, and no s_test."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import Damped, Dense, InRoots, Rooted
from fastif.numerics.blocked_dot import lengths
from fastif.solvers.gram import (
    ShiftedInverse,
    kernel_norms,
    kernel_times,
    project,
    shifted_inverse,
)
from fastif.solvers.lanczos import top_eigenvalue
from fastif.solvers.solver import ByExample, relative

CONVERGED = 1e-2
MOST_ROUNDING = 5e-3
"""Relative residual that rounding may add; beyond it s_test is computed and looked at instead."""


@dataclass(frozen=True, eq=False)
class KernelScores:
    """One sweep a set of queries: with P = R b, everything follows from K = R Rᵀ.

    With w = λ m and (w I + K) y = P, the solution is x = (b - Rᵀ y) / λ. It is never made, for

        R x = m y,    bᵀ x = (‖b‖² - yᵀ P) / λ,    ‖x‖² = (bᵀ x - m ‖y‖²) / λ,

    and ∇L(i) = Σ u_r R_r over an example's few root rows, so its score is m Σ u_r y_r; with the
    leverage of each example, other weights take the place of u (`Leverage`). Where x is
    much shorter than b / λ the last two are differences of nearly equal numbers, and no more exact
    than the rounding of P; they are evidence, no score.

    The residual is ‖Rᵀ e‖ for e = y - R x / m = -(P - (w I + K) y) / w, as K has it, and
    √‖K‖ (‖δK‖ ‖y‖ + ε ‖b‖) / w for rounding: δK that of K, ε that of a product with root rows, both
    measured by `Probe`. ‖K‖ is the largest eigenvalue, so every error counts as if it lay in its
    direction; ‖δK‖ is 2 ‖δK‖_F / √r, that of a matrix whose r² errors have nothing in common.
    """

    rooted: Rooted
    damping: float
    at: InRoots
    count: int
    kernel: Float[Tensor, "r r"]
    inverse: ShiftedInverse
    rounding: Float[Tensor, " 2"]
    reach: float
    scored: InRoots | None = None

    def __call__(self, rhs: Float[Tensor, "q p"]) -> ByExample:
        projected, size = project(self.rooted, rhs), lengths(rhs).double()
        dual, examples = self.inverse(projected), self.rooted.count
        weight = self.damping * examples
        error = (kernel_times(dual, self.kernel) + weight * dual - projected) / weight
        length, (matrix, product) = dual.norm(dim=1), self.rounding.tolist()
        added = self.reach * (matrix * length + product * size)
        residual = relative(kernel_norms(error, self.kernel) + added, size)
        along = (size.square() - (dual * projected).sum(1)) / self.damping
        square = (along - examples * length.square()) / self.damping
        return ByExample(
            self._told(examples * dual, rhs, self.scored or self.at),
            self._told(projected, rhs, self.at),
            residual.to(rhs.dtype),
            residual <= CONVERGED,
            square.clamp_min(0).sqrt().to(rhs.dtype),
            along.to(rhs.dtype),
            self.damping,
        )

    def _told(self, rows: Tensor, rhs: Tensor, at: InRoots) -> Float[Tensor, "q n"]:
        return at.gathered(rows, self.count).to(rhs.dtype)


def kernel_scores(
    operator: Damped,
    rooted: Rooted,
    at: InRoots,
    count: int,
    kernel: Float[Tensor, "r r"],
    rounding: Float[Tensor, " 2"],
) -> KernelScores | None:
    """None if rounding might add more than `MOST_ROUNDING` to a residual, or K is not finite.

    Args:
        operator: the damped curvature, over all training examples.
        rooted: the same without damping.
        at: how loss gradients are made of its root rows.
        count: n, training examples.
        kernel: K.
        rounding: as a `Probe` measured it: ‖δK‖_F, and ε.
    """
    weight = operator.damping * rooted.count
    matrix, product = rounding.tolist()
    if not math.isfinite(matrix + product):
        return None
    reach = math.sqrt(top_eigenvalue(Dense(kernel))) / weight
    matrix *= 2 / math.sqrt(len(kernel))
    # ‖y‖ / ‖b‖ is at most 1 / (2 √w): no singular value of (w + R Rᵀ)⁻¹ R is larger.
    if reach * (product + matrix / (2 * math.sqrt(weight))) > MOST_ROUNDING:
        return None
    known = torch.tensor([matrix, product], dtype=torch.float64)
    inverse = shifted_inverse(kernel, weight)
    return KernelScores(rooted, operator.damping, at, count, kernel, inverse, known, reach)
