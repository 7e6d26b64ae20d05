"""Spectral solver: the closed-form inverse of the EK-FAC approximation."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.ekfac import Ekfac
from fastif.curvature.ggn import GaussNewton
from fastif.curvature.operator import DampedOperator
from fastif.errors import InputError
from fastif.gradients.gradient_tile import aligned_rows
from fastif.solvers.cost import SolverCost, SolverProblem
from fastif.solvers.in_place import (
    InPlaceSolver,
    copy_aligned,
    measure_residual_in_place,
    solve_finite_in_place,
)
from fastif.solvers.preconditioner import EKFAC_SWEEPS
from fastif.solvers.product_precision import check_products, use_precision
from fastif.solvers.settings import SpectralSettings
from fastif.solvers.solver import EkfacSolver, Factor, Solution, Solve, solve_finite_rows

ROTATED_NUMBERS = 2**30
"""Numbers of the right-hand sides that are rotated before their solutions change type."""


@dataclass(frozen=True)
class Spectral(SpectralSettings, EkfacSolver, InPlaceSolver):
    """Closed-form inverse of the EK-FAC approximation: x = (EK-FAC of A + λI)⁻¹ b.

    EK-FAC (George et al., 2018) is diagonal in a known eigenbasis, so its inverse divides by
    eigenvalues. There are no iterations, and one fit serves all queries and every damping.

    The residual is measured on the given operator, with one product with the exact Gauss-Newton
    matrix. It measures how far EK-FAC is from A along the right-hand side, and not the convergence
    of an iteration: x = 0 has residual 1, and a solution with more than that is worse in this norm
    than none. Such a solution can still rank training examples well, because influence depends on
    the directions of the gradients and the residual is dominated by those of large curvature.

    Args:
        labels: Expectation over labels in the fit: "auto", "exact" or "sampled", see `Ekfac.fit`.
        negligible: Relative error that a solution may have from truncated directions, above 0 to
            below 1.
        tolerance: Relative residual up to which a solution counts as converged, above 0 to 1.
        seed: Random seed of the signs with sampled labels.
        products: Precision of the rotations and of the products of the residual: "single", "tf32"
            on a GPU, or "bf16" on a CPU. Below single precision, a bound on rounding is added to
            the residual, see `measure_residual_in_place`.
        kind: Name of the solver in a study file.

    Raises:
        InputError: If a hyper-parameter is out of range; from `solve`, if the curvature is neither
            a Gauss-Newton matrix nor EK-FAC, λ is 0, or the device has no such products.

    Examples:
        >>> import torch
        >>> from fastif import GaussNewton, ModuleObjective, SquaredError, TensorExamples
        >>> points = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> examples = TensorExamples(points, torch.zeros(2, 1))
        >>> curvature = GaussNewton(ModuleObjective(model, SquaredError()), examples)
        >>> operator = curvature.with_damping(1.0)
        >>> Spectral().solve(operator, torch.ones(1, 2)).value  # 1 / (x² + λ)
        tensor([[0.5000, 0.2000]])
    """

    factor_depends_on_damping: ClassVar[bool] = False
    factor_fields: ClassVar[tuple[str, ...]] = ("labels", "seed")
    remedy: ClassVar[str] = "Raise the damping."

    def check(self, operator: DampedOperator) -> None:
        if not isinstance(operator.operator, GaussNewton | Ekfac) or not operator.damping > 0:
            raise InputError(
                "solver spectral",
                "a Gauss-Newton or EK-FAC curvature and a damping > 0",
                f"{type(operator.operator).__name__} with damping {operator.damping}",
                'Set kind = "gauss-newton" and a positive damping, or use kind = "cg" or "lissa".',
            )
        check_products(self.products, operator.like.device)

    def estimate_cost(self, problem: SolverProblem) -> SolverCost:
        return SolverCost(problem.rows, EKFAC_SWEEPS * problem.rows, vectors_per_query=3)

    def fit_ekfac(self, curvature: GaussNewton) -> Ekfac:
        return Ekfac.fit(curvature, labels=self.labels, seed=self.seed)

    def factor(self, operator: DampedOperator) -> Factor:
        """Return the fitted EK-FAC as tensors, which serve every damping."""
        return self._load_or_fit(operator).state_dict()

    def solve(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        return self.prepare(operator, factor)(rhs)

    def prepare(self, operator: DampedOperator, factor: Factor | None = None) -> Solve:
        ekfac = self._load_or_fit(operator, factor)
        return lambda rhs: solve_finite_rows(
            operator, rhs, lambda rows: self._solve(operator, copy_aligned(rows), ekfac)
        )

    def prepare_in_place(
        self,
        operator: DampedOperator,
        factor: Factor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Solve:
        ekfac = self._load_or_fit(operator, factor)
        return lambda rhs: solve_finite_in_place(
            rhs, lambda rows: self._solve(operator, rows, ekfac, dtype)
        )

    def _solve(
        self, operator: DampedOperator, rhs: Tensor, ekfac: Ekfac, dtype: torch.dtype | None = None
    ) -> Solution:
        """Solve, and overwrite the right-hand sides with their residuals."""
        value = self._rotate(rhs, ekfac, operator.damping, dtype)
        residual = measure_residual_in_place(operator, value, rhs, self.products)
        return Solution(value, residual, residual <= self.tolerance, 1, operator.damping)

    def _rotate(
        self, rhs: Tensor, ekfac: Ekfac, damping: float, dtype: torch.dtype | None
    ) -> Float[Tensor, "q p"]:
        """Return the inverse of EK-FAC times the right-hand sides, in a type."""
        with use_precision(rhs.device, self.products):
            if dtype in (None, rhs.dtype):
                return ekfac.apply_inverse(rhs, damping, self.negligible)
            value = aligned_rows(rhs, len(rhs), rhs.shape[1], dtype)
            step = max(1, ROTATED_NUMBERS // rhs.shape[1])
            for own, out in zip(rhs.split(step), value.split(step), strict=True):
                out.copy_(ekfac.apply_inverse(own, damping, self.negligible))
            return value

    def _load_or_fit(self, operator: DampedOperator, factor: Factor | None = None) -> Ekfac:
        """Return EK-FAC: the operator itself if it is one, restored from a factor, or fitted."""
        self.check(operator)
        curvature = operator.operator
        if isinstance(curvature, Ekfac):
            return curvature
        assert isinstance(curvature, GaussNewton)  # as checked
        if factor is not None:
            return Ekfac.from_state_dict(factor, curvature.objective.space, operator.like)
        return self.fit_ekfac(curvature)
