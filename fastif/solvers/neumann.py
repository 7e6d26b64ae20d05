"""Stochastic Neumann series of LiSSA: one repeat, for many right-hand sides at once."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.hessian import Hessian
from fastif.curvature.operator import DampedOperator, FactoredOperator
from fastif.solvers.lanczos import Inverse
from fastif.solvers.solver import measure_residual, merge_by_position

DIVERGENCE_CHECK_INTERVAL = 50
"""Steps between two checks of the norm of the iterates."""

DIVERGENCE_FACTOR = 1e3
"""Multiple of ‖b‖ / λ above which an iterate has diverged.

For a positive definite A, ‖x‖ is at most ‖b‖ / λ. Noise of mini-batches may make an iterate longer,
but not a thousand times.
"""

FIRST_CHECK = 16


@dataclass(frozen=True)
class NeumannSeries:
    """Neumann series e ← e + P⁻¹(b - A_B e / s) from e = P⁻¹b, with solution x = e / s.

    With a tolerance, the solution is the average of the later iterates (Polyak and Juditsky, 1992)
    between two measurements of its residual. At a scale that removes the bias of a single iterate,
    mini-batch noise would keep it from converging. A measurement is a pass over all examples, so
    the intervals between them grow.

    Attributes:
        scale: Step scale s.
        batch: Number B of examples in a mini-batch.
        steps: Number J of steps, or the largest number with a tolerance.
        tolerance: Relative residual at which a right-hand side stops; None takes all steps and
            returns the last iterate.
        bias: Estimated number of steps until the bias is below the tolerance.
        inverse: Preconditioner, a function that multiplies vectors by P⁻¹.
    """

    scale: float
    batch: int
    steps: int
    tolerance: float | None
    bias: float
    inverse: Inverse

    def run(
        self, operator: DampedOperator, rhs: Float[Tensor, "q p"], seed: int
    ) -> tuple[Float[Tensor, "q p"], Float[Tensor, " q"], int]:
        """Run one repeat.

        Right-hand sides that diverge become NaN, and the others continue without them.

        Args:
            operator: Damped curvature A + λI.
            rhs: Right-hand sides b, one in each row.
            seed: Random seed of the mini-batches.

        Returns:
            The solutions x, their relative residuals (NaN where not measured), and the number of
            steps.
        """
        state = _State(self, operator, rhs, torch.Generator().manual_seed(seed))
        sweep = -(-_count_examples(operator) // self.batch)
        next_check = max(FIRST_CHECK, math.ceil(min(self.bias, sweep)))
        next_check, average_from = min(next_check, self.steps), next_check // 2
        while state.step < self.steps and len(state.places):
            state.advance(is_averaged=self.tolerance is not None and state.step >= average_from)
            if state.step % DIVERGENCE_CHECK_INTERVAL == 0:
                state.drop_diverged()
            if self.tolerance is not None and state.step == next_check:
                state.finish_converged(self.tolerance)
                next_check = min(self.steps, next_check + max(next_check // 2, sweep))
                average_from = max(state.step, next_check // 2)
        state.drop_diverged()
        return state.collect()


class _State:
    """Iterates of the active right-hand sides, and the results of the finished ones."""

    def __init__(
        self,
        series: NeumannSeries,
        operator: DampedOperator,
        rhs: Tensor,
        generator: torch.Generator,
    ) -> None:
        self.series, self.operator, self.generator = series, operator, generator
        self.places = torch.arange(len(rhs), device=rhs.device)
        self.rhs, self.preconditioned_rhs = rhs, series.inverse(rhs)
        self.estimate = self.preconditioned_rhs.clone()
        self.mean = (
            rhs if series.tolerance is None else torch.zeros_like(rhs)
        )  # unused without a tolerance
        self.in_mean = self.step = 0
        self.values: list[tuple[Tensor, Tensor]] = []
        self.residuals: list[tuple[Tensor, Tensor]] = []

    def advance(self, is_averaged: bool) -> None:
        sampled = self.operator.sample(self.generator, self.series.batch)
        product = self.series.inverse(sampled.apply(self.estimate))
        self.estimate.sub_(product, alpha=1 / self.series.scale).add_(self.preconditioned_rhs)
        self.step += 1
        if is_averaged:
            self.in_mean += 1
            self.mean.lerp_(self.estimate, 1 / self.in_mean)

    def drop_diverged(self) -> None:
        norms = self.estimate.norm(dim=1)
        diverged = ~torch.isfinite(norms)
        if self.operator.damping > 0:
            max_norm = self.rhs.norm(dim=1) / self.operator.damping * self.series.scale
            diverged |= norms > DIVERGENCE_FACTOR * max_norm
        self._finish_rows(
            diverged, torch.full_like(self.estimate, torch.nan) if diverged.any() else self.estimate
        )

    def finish_converged(self, tolerance: float) -> None:
        value = self.mean / self.series.scale
        residual = measure_residual(self.operator, value, self.rhs)
        is_last = self.step == self.series.steps
        self._finish_rows((residual <= tolerance) | is_last, value, residual)
        self.in_mean = 0

    def collect(self) -> tuple[Tensor, Tensor, int]:
        self._finish_rows(self.places >= 0, self.estimate.div_(self.series.scale))
        return merge_by_position(self.values), merge_by_position(self.residuals), self.step

    def _finish_rows(self, mask: Tensor, value: Tensor, residual: Tensor | None = None) -> None:
        if not mask.any():
            return
        if residual is None:
            residual = torch.full_like(value[:, 0], torch.nan)
        is_all = bool(mask.all())  # avoids a copy
        positions = self.places[mask]
        self.values.append((positions, value if is_all else value[mask]))
        self.residuals.append((positions, residual[mask]))
        active = ~mask
        self.places, self.rhs = self.places[active], self.rhs[active]
        self.preconditioned_rhs = self.preconditioned_rhs[active]
        self.estimate, self.mean = self.estimate[active], self.mean[active]


def _count_examples(operator: DampedOperator) -> int:
    inner = operator.operator
    if isinstance(inner, FactoredOperator):
        return inner.count
    if isinstance(inner, Hessian):
        return len(inner.examples) if inner.ids is None else len(inner.ids)
    return 1
