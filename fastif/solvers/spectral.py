"""Spectral solver: the closed-form inverse of the EK-FAC approximation."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.ekfac import Ekfac
from fastif.curvature.ggn import GaussNewton
from fastif.curvature.operator import DampedOperator
from fastif.errors import InputError
from fastif.solvers.cost import SolverCost, SolverProblem
from fastif.solvers.preconditioner import EKFAC_SWEEPS
from fastif.solvers.settings import SpectralSettings
from fastif.solvers.solver import (
    EkfacSolver,
    Factor,
    Solution,
    Solve,
    measure_residual,
    solve_finite_rows,
)


@dataclass(frozen=True)
class Spectral(SpectralSettings, EkfacSolver):
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
        kind: Name of the solver in a study file.

    Raises:
        InputError: If a hyper-parameter is out of range; from `solve`, if the curvature is neither
            a Gauss-Newton matrix nor EK-FAC, or λ is 0.

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

    def estimate_cost(self, problem: SolverProblem) -> SolverCost:
        return SolverCost(problem.rows, EKFAC_SWEEPS * problem.rows, vectors_per_query=4)

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
            operator, rhs, lambda rows: self._solve(operator, rows, ekfac)
        )

    def _solve(self, operator: DampedOperator, rhs: Tensor, ekfac: Ekfac) -> Solution:
        value = ekfac.apply_inverse(rhs, operator.damping, self.negligible)
        residual = measure_residual(operator, value, rhs)
        return Solution(value, residual, residual <= self.tolerance, 1, operator.damping)

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
