"""The exact damped Gauss-Newton inverse, in the space of examples."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import Damped, Rooted
from fastif.errors import InputError
from fastif.gradients import Tile
from fastif.solvers.solver import Factor, Solution, Solver, check_positive, relative

LARGEST = 20_000
"""Root rows in a kernel: their square in double precision has to fit into memory (3.2 GB)."""


@dataclass(frozen=True)
class Dual(Solver):
    """x = (b - Rᵀ (λ m I + K)⁻¹ R b) / λ with K = R Rᵀ, exact for A = RᵀR / m + λI (Woodbury).

    The system has one unknown a root row (m examples x (classes - 1) for softmax), not one a
    parameter. The root rows are never all held: K is filled block by block, each block's rows being
    taken anew, and a solve takes them three times, for all right-hand sides together.

    The residual is measured, by a third sweep that needs no third set of rows: with y the solution
    of the small system, b - A x = Rᵀ e for e = y - R x / m, so its norm is √(eᵀ K e).

    Args:
        block_rows: examples whose root rows are held while K is filled.

    >>> from fastif import GaussNewton, ModuleObjective, SquaredError, TensorExamples
    >>> points = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> examples = TensorExamples(points, torch.zeros(2, 1))
    >>> operator = GaussNewton(ModuleObjective(model, SquaredError()), examples).damped(1.0)
    >>> Dual().solve(operator, torch.ones(1, 2)).value  # 1 / (x² + λ)
    tensor([[0.5000, 0.2000]])
    """

    factor_depends_on_damping: ClassVar[bool] = False

    block_rows: int = field(default=64, metadata={"changes_answers": False})
    kind: Literal["dual"] = "dual"
    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        check_positive(self)

    def check(self, operator: Damped) -> None:
        rooted = _rooted(operator)
        _check_size(rooted.count, rooted.columns)

    def factor(self, operator: Damped) -> Factor:
        """The kernel K of all pairs of root rows; it does not depend on the damping."""
        rooted = _rooted(operator)
        held_pieces = max(1, self.block_rows // rooted.batch_size)
        strips: list[Tensor] = []
        for first in range(0, rooted.pieces, held_pieces):
            last = min(first + held_pieces, rooted.pieces)
            # Kept apart: to join them would hold them twice.
            held = [tile.rows.clone() for tile in _tiles(rooted, first, last)]
            _check_size(rooted.count, len(held) // (last - first))
            # From the diagonal on only: the rest are mirror images of earlier strips.
            strip = [
                torch.cat([tile.times(rows) for rows in held])
                for tile in _tiles(rooted, first, rooted.pieces)
            ]
            strips.append(torch.cat(strip, dim=1))
        return {"kernel": _symmetric(strips), "batch_size": torch.tensor(rooted.batch_size)}

    def solve(
        self, operator: Damped, rhs: Float[Tensor, "q p"], factor: Factor | None = None
    ) -> Solution:
        rooted, damping = _rooted(operator), operator.damping
        kernel = _kernel(factor or self.factor(operator), rooted).to(rhs.device)
        weight = damping * rooted.count
        shifted = kernel + weight * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
        projected = _project(rooted, rhs).double().T
        dual = torch.cholesky_solve(projected, torch.linalg.cholesky(shifted)).T
        value = rhs.clone()
        start = 0
        for tile in _tiles(rooted, 0, rooted.pieces):
            tile.add_to(value, -dual[:, start : start + len(tile)].to(rhs.dtype))
            start += len(tile)
        value.div_(damping)
        error = dual - _project(rooted, value).double() / rooted.count
        norm = ((error @ kernel) * error).sum(1).clamp_min(0).sqrt().to(rhs.dtype)
        residual = relative(norm, rhs.norm(dim=1))
        return Solution(value, residual, residual <= 1e-2, 3, damping)


def _check_size(count: int, columns: int) -> None:
    if count * columns > LARGEST:
        raise InputError(
            "solver dual",
            f"at most {LARGEST} root rows: examples of the curvature x (classes - 1)",
            f"{count} x {columns} = {count * columns}",
            f"Set [curvature] rows to {LARGEST // columns} or less.",
        )


def _rooted(operator: Damped) -> Rooted:
    if not isinstance(operator.operator, Rooted) or not operator.damping > 0:
        raise InputError(
            "solver dual",
            "a Gauss-Newton curvature and a damping > 0",
            f"{type(operator.operator).__name__} with damping {operator.damping}",
            'Set kind = "gauss-newton" and a positive damping, or use kind = "cg" or "lissa".',
        )
    return operator.operator


def _project(rooted: Rooted, rows: Tensor) -> Tensor:
    """Rows @ Rᵀ, one sweep."""
    return torch.cat([tile.times(rows) for tile in _tiles(rooted, 0, rooted.pieces)], dim=1)


def _kernel(factor: Factor, rooted: Rooted) -> Tensor:
    """The kernel, if its rows stand in the order in which this operator gives its own."""
    taken_with = int(factor["batch_size"])
    if taken_with != rooted.batch_size:
        raise InputError(
            "solver dual",
            f"a factor taken with batch size {rooted.batch_size}, as the operator has now",
            f"one taken with {taken_with}",
            "Factor again, or give the operator the batch size of the factor.",
        )
    return factor["kernel"].double()


def _tiles(rooted: Rooted, first: int, last: int) -> Iterator[Tile]:
    for piece in range(first, last):
        yield from rooted.roots(piece)


def _symmetric(strips: list[Tensor]) -> Tensor:
    """The whole matrix from its upper block rows."""
    size = strips[0].shape[1]
    matrix = strips[0].new_zeros(size, size)
    for strip in strips:
        start, stop = size - strip.shape[1], size - strip.shape[1] + strip.shape[0]
        matrix[start:stop, start:] = strip
        matrix[start:, start:stop] = strip.T
    return matrix
