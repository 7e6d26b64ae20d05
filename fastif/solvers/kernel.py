"""The kernel K = R Rᵀ of the root rows of an operator, which pass by in tiles."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.operator import LinearOperator, Rooted
from fastif.gradients import Tile

CHUNK = 1024
"""Rows of a kernel that are made double at once."""


@dataclass(frozen=True, eq=False)
class Kernel(LinearOperator):
    """R Rᵀ by two sweeps over the root rows; it takes rows of any type and gives them as double.

    The order of its rows and columns is that in which the tiles pass by.
    """

    rooted: Rooted

    @property
    def size(self) -> int:
        return self.rooted.count * self.rooted.columns

    @property
    def like(self) -> Tensor:
        return self.rooted.like.double()

    def apply(self, rows: Float[Tensor, "q n"]) -> Float[Tensor, "q n"]:
        return project(self.rooted, add_spread(self.rooted, rows))


def project(rooted: Rooted, rows: Float[Tensor, "q p"]) -> Float[Tensor, "q n"]:
    """Rows @ Rᵀ in double precision, one sweep."""
    products = [tile.times(rows).double() for tile in tiles(rooted, 0, rooted.pieces)]
    return torch.cat(products, dim=1)


def add_spread(
    rooted: Rooted, weights: Float[Tensor, "q n"], rows: Float[Tensor, "q p"] | None = None
) -> Float[Tensor, "q p"]:
    """Rows + weights @ R, in place where there are rows; one sweep."""
    like = rooted.like
    if rows is None:
        rows = like.new_zeros(len(weights), rooted.size)
    weights, start = weights.to(like.dtype), 0
    for tile in tiles(rooted, 0, rooted.pieces):
        tile.add_to(rows, weights[:, start : start + len(tile)])
        start += len(tile)
    return rows


def tiles(rooted: Rooted, first: int, last: int) -> Iterator[Tile]:
    """The tiles of some pieces; each stands in the workspace until the next is asked for."""
    for piece in range(first, last):
        yield from rooted.roots(piece)


def kernel_matrix(
    rooted: Rooted, held_pieces: int, check_columns: Callable[[int], None] = lambda columns: None
) -> Float[Tensor, "n n"]:
    """K itself, by strips: the rows of `held_pieces` pieces are held while all others pass by.

    `check_columns` is told how many root rows an example has as soon as that is seen.
    """
    strips: list[Tensor] = []
    for first in range(0, rooted.pieces, held_pieces):
        last = min(first + held_pieces, rooted.pieces)
        # Kept apart: to join them would hold them twice.
        held = [tile.rows.clone() for tile in tiles(rooted, first, last)]
        check_columns(len(held) // (last - first))
        # From the diagonal on only: the rest are mirror images of earlier strips.
        strip = [
            torch.cat([tile.times(rows) for rows in held])
            for tile in tiles(rooted, first, rooted.pieces)
        ]
        strips.append(torch.cat(strip, dim=1))
    return _symmetric(strips)


def kernel_norms(rows: Float[Tensor, "q n"], kernel: Float[Tensor, "n n"]) -> Float[Tensor, " q"]:
    """√(eᵀ K e) of each row e, in double precision without a second K of that."""
    square = rows.new_zeros(len(rows))
    for some, part in zip(rows.split(CHUNK, 1), kernel.split(CHUNK), strict=True):
        square += ((some @ part.double()) * rows).sum(1)
    return square.clamp_min_(0).sqrt()


def shifted_inverse(kernel: Float[Tensor, "n n"], weight: float) -> Callable[[Tensor], Tensor]:
    """Rows (K + weight I)⁻¹ in double precision."""
    shifted = kernel.double() if kernel.dtype != torch.float64 else kernel.clone()
    shifted.diagonal().add_(weight)
    lower, failed = torch.linalg.cholesky_ex(shifted)
    if not failed:
        return lambda rows: torch.cholesky_solve(rows.T, lower).T
    if not torch.isfinite(kernel).all():
        return lambda rows: torch.full_like(rows, torch.nan)
    # Not positive definite, so the rounding of K is larger than the weight: what is negative is 0.
    values, vectors = torch.linalg.eigh(kernel.double())
    divisor = values.clamp_min(0) + weight
    return lambda rows: ((rows @ vectors) / divisor) @ vectors.T


def _symmetric(strips: list[Tensor]) -> Tensor:
    """The whole matrix from its upper block rows."""
    size = strips[0].shape[1]
    matrix = strips[0].new_zeros(size, size)
    for strip in strips:
        start, stop = size - strip.shape[1], size - strip.shape[1] + strip.shape[0]
        matrix[start:stop, start:] = strip
        matrix[start:, start:stop] = strip.T
    return matrix
