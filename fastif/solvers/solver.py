"""Solver and Solution: A x = b for many rows b, and how well it went."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.curvature.operator import Damped
from fastif.errors import InputError

Factor = Mapping[str, Tensor]
"""What a solver keeps of an operator between calls: named tensors, ready for safetensors."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The rows x with A x ≈ b, and the evidence.

    Attributes:
        value: x.
        residual: ‖b - A x‖ / ‖b‖ of each row, on the damped operator that was to be solved.
        converged: whether the residual is within the solver's tolerance.
        steps: sweeps over the operator that were used.
        damping: the effective λ.
        spread: relative standard deviation over repeats, where a solver has repeats.
    """

    value: Float[Tensor, "q p"]
    residual: Float[Tensor, " q"]
    converged: Bool[Tensor, " q"]
    steps: int
    damping: float
    spread: Float[Tensor, " q"] | None = None


class Solver(ABC):
    """A frozen record of hyper-parameters: the algorithm, its configuration and its provenance.

    `factor` does what depends on the operator alone and can be kept; `solve` does the rest:
    `solver.solve(operator, rhs, solver.factor(operator))`.
    """

    factor_depends_on_damping: ClassVar[bool] = True

    def check(self, operator: Damped) -> None:  # noqa: B027  most solvers take any operator
        """Refuse an operator that this solver cannot treat, before any work is done.

        Raises:
            InputError: what is wrong with it.
        """

    def factor(self, operator: Damped) -> Factor:
        """What depends on the operator alone; nothing unless a solver says otherwise."""
        return {}

    @abstractmethod
    def solve(
        self, operator: Damped, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        """X with (A + λI) x = rhs for every row; `rhs` is left as it is.

        Raises:
            InputError: the solver cannot treat this operator.
        """


def check_positive(solver: Solver) -> None:
    """Refuse a hyper-parameter that is not a positive finite number (a seed may be 0).

    Raises:
        InputError: naming the hyper-parameter.
    """
    for item in fields(solver):  # type: ignore[arg-type]
        value = getattr(solver, item.name)
        least = 0 if item.name == "seed" else math.ulp(0.0)
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= least):
            raise InputError(
                f"[solver] {item.name}",
                "a number of 0 or more" if item.name == "seed" else "a finite number > 0",
                f"{value}",
                f"Leave it out for {item.default}.",
            )


def measured_residual(
    operator: Damped, value: Float[Tensor, "q p"], rhs: Float[Tensor, "q p"]
) -> Float[Tensor, " q"]:
    """‖rhs - A value‖ / ‖rhs‖, by one more product with the whole operator; 0 for a zero rhs."""
    return relative((rhs - operator.apply(value)).norm(dim=1), rhs.norm(dim=1))


def relative(error: Float[Tensor, " q"], size: Float[Tensor, " q"]) -> Float[Tensor, " q"]:
    """Error / size, 0 where both are 0."""
    tiny = torch.finfo(size.dtype).tiny
    return torch.where((size == 0) & (error == 0), 0.0, error / size.clamp_min(tiny))
