"""Solver and Solution: A x = b for many rows b, and how well it went."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, get_args, get_origin, get_type_hints

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.curvature.operator import Damped
from fastif.data.examples import Examples
from fastif.errors import InputError
from fastif.numerics.blocked_dot import lengths

Factor = Mapping[str, Tensor]
"""What a solver keeps of an operator between calls: named tensors, ready for safetensors."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The rows x with A x ≈ b, and the evidence.

    A row that could not be solved (a right-hand side with NaN in it, a series that diverged) is NaN
    with an infinite residual; the other rows are as if it had not been there.

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


Solve = Callable[[Tensor], Solution]
"""From rows b to their solution: a solver bound to one operator."""


@dataclass(frozen=True, eq=False)
class ByExample:
    """Products of x = (A + λI)⁻¹ b with the loss gradients of all n training examples.

    Attributes:
        scores: ∇L(train)ᵀ x.
        products: ∇L(train)ᵀ b.
        residual: ‖b - (A + λI) x‖ / ‖b‖; measured in the kernel, and a bound on what rounding adds.
        converged: whether the residual is within the solver's tolerance.
        solution_norm: ‖x‖, and product: bᵀ x.
        damping: λ.
    """

    scores: Float[Tensor, "q n"]
    products: Float[Tensor, "q n"]
    residual: Float[Tensor, " q"]
    converged: Bool[Tensor, " q"]
    solution_norm: Float[Tensor, " q"]
    product: Float[Tensor, " q"]
    damping: float


ScoreAll = Callable[[Tensor], ByExample]
"""From right-hand sides b [q p] to their scores of all training examples."""


class Solver(ABC):
    """A frozen record of hyper-parameters: the algorithm, its configuration and its provenance.

    `factor` does what depends on the operator alone and can be kept; `solve` does the rest:
    `solver.solve(operator, rhs, solver.factor(operator))`. Who solves many sets of rows in one
    process takes `prepare` and calls what it returns.

    Attributes:
        factor_depends_on_damping: whether another damping needs another factor.
        factor_fields: names of the hyper-parameters that the factor depends on.
        remedy: what to change where rows come back as NaN.
    """

    factor_depends_on_damping: ClassVar[bool] = True
    factor_fields: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = "Raise the damping, or use the dual solver."

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

    def prepare(self, operator: Damped, factor: Factor | None = None) -> Solve:
        """`solve` for many sets of rows: what they share is done now, once, and held.

        Raises:
            InputError: the solver cannot treat this operator.
        """
        made = self.factor(operator) if factor is None else factor
        return lambda rhs: self.solve(operator, rhs, made)

    def prepare_scores(
        self, operator: Damped, train: Examples, factor: Factor | None = None
    ) -> ScoreAll | None:
        """Scores of all training examples without s_test, for a solver that has them cheaper.

        None if it has not: then `prepare`, and take the training gradients once more.

        Raises:
            InputError: the solver cannot treat this operator.
        """
        return None


def check_positive(solver: Solver) -> None:
    """Refuse a number that is not positive and finite (a seed may be 0), and an unknown word.

    A tolerance is at most 1, the relative residual of a solution of 0: beyond it all converges.

    Raises:
        InputError: naming the hyper-parameter.
    """
    hints = get_type_hints(type(solver))
    for item in fields(solver):  # type: ignore[arg-type]
        value, words = getattr(solver, item.name), _words(hints[item.name])
        least = 0 if item.name == "seed" else math.ulp(0.0)
        if isinstance(value, str):
            fits, expected = value in words, " or ".join(f'"{word}"' for word in words)
        elif isinstance(value, int | float):
            fits = math.isfinite(value) and value >= least
            expected = "a number of 0 or more" if item.name == "seed" else "a finite number > 0"
            expected += "".join(f' or "{word}"' for word in words)
            if item.name == "tolerance" and value > 1:
                fits, expected = False, "at most 1, the relative residual of a solution of 0"
        else:
            continue
        if not fits:
            raise InputError(
                f"[solver] {item.name}", expected, f"{value}", f"Leave it out for {item.default}."
            )


def _words(hint: object) -> list[str]:
    """The words a field may hold, by its annotation."""
    if get_origin(hint) is Literal:
        return [word for word in get_args(hint) if isinstance(word, str)]
    return [word for member in get_args(hint) for word in _words(member)]


def on_finite_rows(operator: Damped, rhs: Float[Tensor, "q p"], solve: Solve) -> Solution:
    """`solve` on the rows without NaN or infinity; the others come back as NaN, residual infinite.

    A row whose solution is not finite is made such a row too.
    """
    good = torch.isfinite(rhs.norm(dim=1))
    if good.all():
        return marked(solve(rhs))
    value = torch.full_like(rhs, torch.nan)
    solution = Solution(value, value[:, 0], good, 0, operator.damping)
    if good.any():
        found = solve(rhs[good])
        value[good] = found.value
        solution = replace(
            found,
            value=value,
            residual=_spread_out(found.residual, good),
            converged=_spread_out(found.converged, good),
            spread=None if found.spread is None else _spread_out(found.spread, good),
        )
    return marked(solution)


def _spread_out(values: Tensor, good: Tensor) -> Tensor:
    everywhere = values.new_zeros(len(good))
    everywhere[good] = values
    return everywhere


def marked(solution: Solution) -> Solution:
    """The solution with its rows that are not finite made NaN, not converged, residual infinite."""
    bad = ~torch.isfinite(solution.value.norm(dim=1))
    if not bad.any():
        return solution
    solution.value[bad] = torch.nan
    spread = solution.spread
    return replace(
        solution,
        residual=solution.residual.masked_fill(bad, torch.inf),
        converged=solution.converged & ~bad,
        spread=None if spread is None else spread.masked_fill(bad, torch.nan),
    )


def joined(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Rows that were finished at different times, as (places, rows), in one matrix."""
    if len(parts) == 1:
        return parts[0][1]
    rows = parts[0][1]
    whole = rows.new_empty(sum(len(places) for places, _ in parts), *rows.shape[1:])
    for places, done in parts:
        whole[places] = done
    return whole


def measured_residual(
    operator: Damped, value: Float[Tensor, "q p"], rhs: Float[Tensor, "q p"]
) -> Float[Tensor, " q"]:
    """‖rhs - A value‖ / ‖rhs‖, by one more product with the whole operator; 0 for a zero rhs."""
    return relative(lengths(rhs - operator.apply(value)), lengths(rhs))


def relative(error: Float[Tensor, " q"], size: Float[Tensor, " q"]) -> Float[Tensor, " q"]:
    """Error / size, 0 where both are 0."""
    tiny = torch.finfo(size.dtype).tiny
    return torch.where((size == 0) & (error == 0), 0.0, error / size.clamp_min(tiny))
