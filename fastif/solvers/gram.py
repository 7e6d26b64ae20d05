"""The kernel K = R Rᵀ of the root rows of an operator, which pass by in tiles."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.operator import LinearOperator, Rooted
from fastif.gradients.per_example import Tile, spaced_rows

CHUNK = 1024
"""Rows of a kernel that are made double at once."""

PROBES = 4
SEED = 0
"""Of their signs: a factor made again is the same."""

TINY = torch.finfo(torch.float64).tiny


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


class Probe:
    """How much rounding there is in a kernel and in products with root rows, measured.

    With random signs w both K w and R (Rᵀ w) can be had while K is filled, at the price of a few
    more columns; their difference is rounding, in K and in the products R z alike.

    Args:
        rooted: whose root rows pass by.
    """

    def __init__(self, rooted: Rooted) -> None:
        self._signs = torch.Generator().manual_seed(SEED)
        self._drawn: list[Float[Tensor, "w b"]] = []
        self._spread = rooted.like.new_zeros(PROBES, rooted.size)
        self._seen: list[Float[Tensor, "w b"]] = []

    def spread(self, tile: Tile) -> None:
        """Take in a tile, each once; all of them before the first is looked at."""
        signs = torch.randint(2, (PROBES, len(tile)), generator=self._signs).mul_(2).sub_(1)
        self._drawn.append(signs.to(self._spread))
        tile.add_to(self._spread, self._drawn[-1])

    def look(self, rows: Float[Tensor, "b p"]) -> None:
        """Take in the same rows again, in the same order."""
        self._seen.append(Tile(rows).times(self._spread).double())

    def rounding(self, kernel: Float[Tensor, "n n"]) -> Float[Tensor, " 2"]:
        """An estimate of ‖δK‖, δK = K - R Rᵀ (Frobenius); of ‖R z‖'s error over ‖z‖, the largest.

        Either holds both errors, so neither is too small.
        """
        signs, seen = torch.cat(self._drawn, 1).double(), torch.cat(self._seen, 1)
        error = (kernel_times(signs, kernel) - seen).norm(dim=1)
        lengths = self._spread.double().norm(dim=1)
        whole = error.square().mean().sqrt()  # E ‖δK w‖² = ‖δK‖² for random signs
        return torch.stack([whole, (error / lengths.clamp_min(TINY)).amax()]).cpu()


def kernel_matrix(
    rooted: Rooted, held_pieces: int, probe: Probe | None = None
) -> Float[Tensor, "n n"]:
    """K itself, by strips: the rows of `held_pieces` pieces are held while all others pass by.

    A `probe` is shown every tile twice.
    """
    strips, held = [], _held(rooted, held_pieces)
    for first in range(0, rooted.pieces, held_pieces):
        last = min(first + held_pieces, rooted.pieces)
        rows = _fill(held, tiles(rooted, first, last))
        strip = []
        # From the diagonal on only: the rest are mirror images of earlier strips.
        for tile in chain([Tile(rows)], tiles(rooted, last, rooted.pieces)):
            strip.append(tile.times(rows))
            if probe is not None and first == 0:
                probe.spread(tile)
        if probe is not None:
            probe.look(rows)
        strips.append(torch.cat(strip, dim=1))
    return _symmetric(strips)


def _held(rooted: Rooted, pieces: int) -> Float[Tensor, "h p"]:
    """Room for the root rows of so many pieces, in one matrix: its products take the least time."""
    examples = min(pieces * rooted.batch_size, rooted.count)
    return spaced_rows(rooted.like, examples * rooted.columns, rooted.size)


def _fill(rows: Float[Tensor, "h p"], passing: Iterator[Tile]) -> Float[Tensor, "m p"]:
    """The tiles one after another; those of the rows that they take."""
    count = 0
    for tile in passing:
        rows[count : count + len(tile)] = tile.rows
        count += len(tile)
    return rows[:count]


def kernel_norms(rows: Float[Tensor, "q n"], kernel: Float[Tensor, "n n"]) -> Float[Tensor, " q"]:
    """√(eᵀ K e) of each row e, in double precision without a second K of that."""
    return (kernel_times(rows, kernel) * rows).sum(1).clamp_min_(0).sqrt()


@dataclass(frozen=True, eq=False)
class ShiftedInverse:
    """Rows (K + weight I)⁻¹ in double precision, from a factor that is made once.

    Attributes:
        factor: L with L Lᵀ = K + weight I, or V D^-½ with V D⁻¹ Vᵀ its inverse where rounding made
            it indefinite; NaN for a kernel that is not finite.
        cholesky: which of the two.
    """

    factor: Float[Tensor, "n n"]
    cholesky: bool

    def __call__(self, rows: Float[Tensor, "q n"]) -> Float[Tensor, "q n"]:
        if self.cholesky:
            return torch.cholesky_solve(rows.T, self.factor).T
        return (rows @ self.factor) @ self.factor.T

    def blocks(self, places: Int[Tensor, "m c"]) -> Float[Tensor, "m c c"]:
        """The inverse where rows and columns of `places` meet, for each of m groups of them."""
        order = places.amin(1).argsort()
        found = self.factor.new_empty(len(places), places.shape[1], places.shape[1])
        for some in order.split(max(1, CHUNK // places.shape[1])):
            half = self._half(places[some])
            found[some] = torch.einsum("kmc,kmd->mcd", half, half)
        return found

    def _half(self, places: Int[Tensor, "m c"]) -> Float[Tensor, "k m c"]:
        """Columns of B with Bᵀ B = the inverse; of a Cholesky factor those below the first."""
        columns = places.flatten()
        if not self.cholesky:
            return self.factor[columns].T.unflatten(1, places.shape)
        first = int(columns.min())
        lower = self.factor[first:, first:]
        unit = lower.new_zeros(len(lower), len(columns))
        unit[columns - first, torch.arange(len(columns))] = 1
        return torch.linalg.solve_triangular(lower, unit, upper=False).unflatten(1, places.shape)


def shifted_inverse(kernel: Float[Tensor, "n n"], weight: float) -> ShiftedInverse:
    """The inverse of K + weight I; what of K is negative, by rounding, counts as 0."""
    shifted = kernel.double() if kernel.dtype != torch.float64 else kernel.clone()
    shifted.diagonal().add_(weight)
    lower, failed = torch.linalg.cholesky_ex(shifted)
    if not failed:
        return ShiftedInverse(lower, True)
    if not torch.isfinite(kernel).all():
        return ShiftedInverse(torch.full_like(shifted, torch.nan), False)
    values, vectors = torch.linalg.eigh(kernel.double())
    return ShiftedInverse(vectors / (values.clamp_min(0) + weight).sqrt(), False)


def kernel_times(rows: Float[Tensor, "q n"], kernel: Float[Tensor, "n n"]) -> Float[Tensor, "q n"]:
    """Rows @ K in double precision."""
    total = torch.zeros_like(rows)
    for some, part in zip(rows.split(CHUNK, 1), kernel.split(CHUNK), strict=True):
        total += some @ part.double()
    return total


def _symmetric(strips: list[Tensor]) -> Tensor:
    """The whole matrix from its upper block rows."""
    size = strips[0].shape[1]
    matrix = strips[0].new_zeros(size, size)
    for strip in strips:
        start, stop = size - strip.shape[1], size - strip.shape[1] + strip.shape[0]
        matrix[start:stop, start:] = strip
        matrix[start:, start:stop] = strip.T
    return matrix
