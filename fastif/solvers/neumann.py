"""The recursion of LiSSA: one run of it, on all rows at once."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.hessian import Hessian
from fastif.curvature.operator import Damped, Rooted
from fastif.solvers.lanczos import Inverse
from fastif.solvers.solver import joined, measured_residual

LOOK_EVERY = 50
"""Steps between two looks at how long the estimates have become."""

TOO_LONG = 1e3
"""The solution for a positive definite A is at most |b| / λ long. Noise may make an estimate
longer, but only a series that diverges makes it a thousand times as long."""

FIRST_LOOK = 16


@dataclass(frozen=True)
class Series:
    """e ← e + P⁻¹(b - A_B e / s), from e = P⁻¹b; then x = e / s.

    With a goal the answer is the mean of the later estimates (Polyak and Juditsky, 1992), taken
    between two measurements of its residual; for at the scale that lets a single estimate lose its
    bias, the noise of mini-batches keeps it from ever getting close. A measurement is a sweep over
    the whole operator, so there are few, ever further apart.

    Attributes:
        scale: s.
        batch: B.
        steps: J, or the most there may be.
        goal: relative residual at which a row ends; None takes all steps and the last estimate.
        bias: steps after which the bias is below the goal, for all that is known.
        inverse: P⁻¹.
    """

    scale: float
    batch: int
    steps: int
    goal: float | None
    bias: float
    inverse: Inverse

    def run(
        self, operator: Damped, rhs: Float[Tensor, "q p"], seed: int
    ) -> tuple[Float[Tensor, "q p"], Float[Tensor, " q"], int]:
        """The rows x, their residuals (NaN where not measured), and the steps that were taken.

        Rows that diverge end as NaN, and the others go on without them.
        """
        state = _State(self, operator, rhs, torch.Generator().manual_seed(seed))
        sweep = -(-_examples(operator) // self.batch)
        look = max(FIRST_LOOK, math.ceil(min(self.bias, sweep)))
        look, since = min(look, self.steps), look // 2
        while state.step < self.steps and len(state.places):
            state.advance(averaged=self.goal is not None and state.step >= since)
            if state.step % LOOK_EVERY == 0:
                state.drop_diverged()
            if self.goal is not None and state.step == look:
                state.end_converged(self.goal)
                look = min(self.steps, look + max(look // 2, sweep))
                since = max(state.step, look // 2)
        state.drop_diverged()
        return state.result()


class _State:
    """The rows that are still going, and those that have ended."""

    def __init__(
        self, series: Series, operator: Damped, rhs: Tensor, generator: torch.Generator
    ) -> None:
        self.series, self.operator, self.generator = series, operator, generator
        self.places = torch.arange(len(rhs), device=rhs.device)
        self.rhs, self.pull = rhs, series.inverse(rhs)
        self.estimate = self.pull.clone()
        self.mean = rhs if series.goal is None else torch.zeros_like(rhs)  # unused without a goal
        self.in_mean = self.step = 0
        self.values: list[tuple[Tensor, Tensor]] = []
        self.residuals: list[tuple[Tensor, Tensor]] = []

    def advance(self, averaged: bool) -> None:
        sampled = self.operator.sample(self.generator, self.series.batch)
        product = self.series.inverse(sampled.apply(self.estimate))
        self.estimate.sub_(product, alpha=1 / self.series.scale).add_(self.pull)
        self.step += 1
        if averaged:
            self.in_mean += 1
            self.mean.lerp_(self.estimate, 1 / self.in_mean)

    def drop_diverged(self) -> None:
        length = self.estimate.norm(dim=1)
        lost = ~torch.isfinite(length)
        if self.operator.damping > 0:
            longest = self.rhs.norm(dim=1) / self.operator.damping * self.series.scale
            lost |= length > TOO_LONG * longest
        self._end(lost, torch.full_like(self.estimate, torch.nan) if lost.any() else self.estimate)

    def end_converged(self, goal: float) -> None:
        value = self.mean / self.series.scale
        residual = measured_residual(self.operator, value, self.rhs)
        last = self.step == self.series.steps
        self._end((residual <= goal) | last, value, residual)
        self.in_mean = 0

    def result(self) -> tuple[Tensor, Tensor, int]:
        self._end(self.places >= 0, self.estimate.div_(self.series.scale))
        return joined(self.values), joined(self.residuals), self.step

    def _end(self, rows: Tensor, value: Tensor, residual: Tensor | None = None) -> None:
        if not rows.any():
            return
        if residual is None:
            residual = torch.full_like(value[:, 0], torch.nan)
        everyone = bool(rows.all())  # then nothing is copied
        places = self.places[rows]
        self.values.append((places, value if everyone else value[rows]))
        self.residuals.append((places, residual[rows]))
        going = ~rows
        self.places, self.rhs, self.pull = self.places[going], self.rhs[going], self.pull[going]
        self.estimate, self.mean = self.estimate[going], self.mean[going]


def _examples(operator: Damped) -> int:
    inner = operator.operator
    if isinstance(inner, Rooted):
        return inner.count
    if isinstance(inner, Hessian):
        return len(inner.examples) if inner.ids is None else len(inner.ids)
    return 1
