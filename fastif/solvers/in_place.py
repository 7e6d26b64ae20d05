"""Solves and residuals in the memory of the right-hand sides, so that more queries share a pass."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import DampedOperator, FactoredOperator, LinearOperator
from fastif.gradients.gradient_tile import GradientTile, aligned_rows
from fastif.numerics.blocked_dot import BLOCK_SIZE, row_norms
from fastif.solvers.product_precision import use_precision
from fastif.solvers.settings import Products
from fastif.solvers.solver import Factor, Solution, Solve, Solver, mark_failed, safe_ratio

MAX_CONVERTED = 2**30
"""Numbers of vectors that are converted to another type at once."""

APPLY_BLOCK_SIZE = 8
"""Number of vectors to which an operator without a factor V is applied at once."""

CONTROL_QUERIES = 8
"""Number of queries with a residual in single precision next to the one in lower precision."""


class InPlaceSolver(Solver):
    """Interface of a solver that can use the memory of its right-hand sides as workspace."""

    @abstractmethod
    def prepare_in_place(
        self,
        operator: DampedOperator,
        factor: Factor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Solve:
        """Return the function of `prepare`, which may overwrite its right-hand sides.

        Two thirds or less of the memory are needed, so more queries share each pass.

        Args:
            operator: Damped curvature A + λI.
            factor: Result of `factor` for this operator; computed if omitted.
            dtype: Type of solutions with a memory of their own; that of the right-hand sides by
                default. Residuals are those of the rounded solutions.
        """


@dataclass(frozen=True, eq=False)
class Subtraction:
    """One subtraction rhs - A value, in the memory of `rhs` and with products in a precision."""

    value: Float[Tensor, "q p"]
    rhs: Float[Tensor, "q p"]
    products: Products = "single"


def subtract_products(operator: LinearOperator, terms: Sequence[Subtraction]) -> None:
    """Subtract A value from the right-hand sides of each term, with one pass over the factor."""
    if not isinstance(operator, FactoredOperator):
        for term in terms:
            blocks = term.value.split(APPLY_BLOCK_SIZE), term.rhs.split(APPLY_BLOCK_SIZE)
            for value, rhs in zip(*blocks, strict=True):
                rhs.sub_(operator.apply(value.to(rhs.dtype)))
        return
    for batch_index in range(operator.num_batches):
        for tile in operator.merge_factor_rows(batch_index):
            for term in terms:
                with use_precision(term.rhs.device, term.products):
                    weights = dot_vectors(tile, term.value).div_(-operator.count)
                    tile.accumulate(term.rhs, weights)


def dot_vectors(tile: GradientTile, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q b"]:
    """Return the inner products of vectors, also of another type, with the rows of a tile.

    Vectors of another type are converted block by block, never as a whole.
    """
    if vectors.dtype == tile.dtype:
        return tile.dot(vectors)
    if type(tile) is not GradientTile:  # the rows are held as factors
        parts = vectors.split(max(1, MAX_CONVERTED // vectors.shape[1]))
        return torch.cat([tile.dot(part.to(tile.dtype)) for part in parts])
    total = tile.gradients.new_zeros(len(vectors), len(tile))
    for start in range(0, vectors.shape[1], BLOCK_SIZE):
        columns = slice(start, start + BLOCK_SIZE)
        total.addmm_(vectors[:, columns].to(tile.dtype), tile.gradients[:, columns].T)
    return total


def measure_residual_in_place(
    operator: DampedOperator,
    value: Float[Tensor, "q p"],
    rhs: Float[Tensor, "q p"],
    products: Products = "single",
) -> Float[Tensor, " q"]:
    """Relative residual ‖b - (A + λI) x‖ / ‖b‖ from one pass over the factor, which overwrites b.

    With products below single precision, the residual vectors of a few control queries are computed
    in single precision too, in the same pass. The largest distance of the two, in units of ‖b‖ + ‖b
    - (A + λI) x‖, is added to the residuals of all queries, as a bound on rounding.

    Args:
        operator: Damped operator A + λI.
        value: Solutions x, of the type of `rhs` or in half precision.
        rhs: Right-hand sides b; overwritten with b - (A + λI) x.
        products: Precision of the products with factor rows.
    """
    norms = row_norms(rhs)
    rhs.sub_(value, alpha=operator.damping)
    count = 0 if products == "single" else CONTROL_QUERIES
    control = rhs[:count].clone()
    terms = [Subtraction(value, rhs, products), Subtraction(value[:count], control)]
    subtract_products(operator.operator, terms[: 1 + bool(count)])
    residual = safe_ratio(row_norms(rhs), norms)
    if not count:
        return residual
    rounding = row_norms(control - rhs[:count])
    unit = norms[:count] + row_norms(rhs[:count])
    largest = safe_ratio(rounding, unit).nan_to_num(0.0).amax()
    return torch.where(norms == 0, residual, residual + largest * (1 + residual))


def copy_aligned(rows: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
    """Return a copy in aligned rows, without which a GPU multiplies without tensor cores."""
    return aligned_rows(rows, len(rows), rows.shape[1]).copy_(rows)


def solve_finite_in_place(rhs: Float[Tensor, "q p"], solve: Solve) -> Solution:
    """Apply a solve that may overwrite its right-hand sides; mark those not finite as failed.

    They are solved as zeros, so that no row is copied.
    """
    finite = torch.isfinite(row_norms(rhs))
    if bool(finite.all()):
        return mark_failed(solve(rhs))
    rhs[~finite] = 0
    solution = solve(rhs)
    solution.value[~finite] = torch.nan
    converged = solution.converged & finite
    return mark_failed(replace(solution, converged=converged))
