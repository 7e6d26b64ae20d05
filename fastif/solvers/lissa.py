"""LiSSA: the Neumann series on mini-batches, as in the FastIF paper."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import Damped
from fastif.solvers.solver import (
    Factor,
    Solution,
    Solver,
    check_positive,
    measured_residual,
    relative,
)

LOOK_EVERY = 50


@dataclass(frozen=True)
class Lissa(Solver):
    """x ← b + x - A_B x / s, J times; x / s → A⁻¹ b when s > λ_max(A_B) / 2; mean of T repeats.

    A_B is a fresh mini-batch of B examples each step, with the same damping as A (Agarwal, Bullins
    and Hazan, 2017; FastIF: J = 1000, B = 1). In the FastIF code damping is multiplied by the step
    scale; here λ is the operator's own and `scale` only sets the step. All rows share the
    mini-batches, so a row's answer does not depend on which rows are solved with it.

    Args:
        depth: J, steps of the recursion.
        repeats: T, independent runs that are averaged; their spread is reported.
        batch: B, examples a step.
        scale: s, the step scale.
        tolerance: relative residual up to which the answer counts as converged.
        seed: of the mini-batches; repeat t uses seed + t.

    >>> from fastif.curvature import Dense
    >>> Lissa(depth=200, scale=4.0).solve(Dense(torch.eye(2)).damped(1.0), torch.ones(1, 2)).value
    tensor([[0.5000, 0.5000]])
    """

    depth: int = 1000
    repeats: int = 1
    batch: int = 1
    scale: float = 1e4
    tolerance: float = 0.1
    seed: int = 0
    kind: Literal["lissa"] = "lissa"
    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_positive(self)

    def solve(
        self, operator: Damped, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        mean, square = torch.zeros_like(rhs), torch.zeros_like(rhs)
        steps = 0
        for repeat in range(self.repeats):
            value, taken = self._one(operator, rhs, self.seed + repeat)
            steps += taken
            change = value - mean
            mean += change / (repeat + 1)
            square += change * (value - mean)  # Welford: no cancellation, no T x q x p held
        residual = measured_residual(operator, mean, rhs)
        return Solution(
            mean,
            residual,
            residual <= self.tolerance,
            steps,
            operator.damping,
            self._spread(mean, square),
        )

    def _one(self, operator: Damped, rhs: Tensor, seed: int) -> tuple[Tensor, int]:
        generator = torch.Generator().manual_seed(seed)
        estimate = rhs.clone()
        step = 0
        for step in range(1, self.depth + 1):
            product = operator.sample(generator, self.batch).apply(estimate)
            estimate = estimate.sub_(product, alpha=1 / self.scale).add_(rhs)
            if step % LOOK_EVERY == 0 and not bool(torch.isfinite(estimate).all()):
                break  # it has diverged; more steps only cost time
        return estimate.div_(self.scale), step

    def _spread(self, mean: Tensor, square: Tensor) -> Tensor | None:
        if self.repeats == 1:
            return None
        deviation = (square.sum(1) / (self.repeats - 1)).sqrt()
        return relative(deviation, mean.norm(dim=1))
