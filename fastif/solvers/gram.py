"""The kernel K = R Rᵀ of the root rows of an operator, which pass by in tiles."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.operator import FactoredOperator, LinearOperator
from fastif.gradients.gradient_tile import GradientTile, aligned_rows

CHUNK = 1024
"""Rows of a kernel that are made double at once."""

PROBE_COUNT = 4
SEED = 0
"""Of their signs: a factor made again is the same."""

TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True, eq=False)
class GramOperator(LinearOperator):
    """R Rᵀ by two sweeps over the root rows; it takes rows of any type and gives them as double.

    The order of its rows and columns is that in which the tiles pass by.
    """

    factored: FactoredOperator

    @property
    def size(self) -> int:
        return self.factored.count * self.factored.rows_per_example

    @property
    def like(self) -> Tensor:
        return self.factored.like.double()

    def apply(self, vectors: Float[Tensor, "q n"]) -> Float[Tensor, "q n"]:
        return apply_factor(self.factored, apply_factor_transpose(self.factored, vectors))


def apply_factor(factored: FactoredOperator, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q n"]:
    """Rows @ Rᵀ in double precision, one sweep."""
    products = [
        tile.dot(vectors).double() for tile in iterate_tiles(factored, 0, factored.num_batches)
    ]
    return torch.cat(products, dim=1)


def apply_factor_transpose(
    factored: FactoredOperator,
    weights: Float[Tensor, "q n"],
    out: Float[Tensor, "q p"] | None = None,
) -> Float[Tensor, "q p"]:
    """Rows + weights @ R, in place where there are rows; one sweep."""
    like = factored.like
    if out is None:
        out = like.new_zeros(len(weights), factored.size)
    weights, start = weights.to(like.dtype), 0
    for tile in iterate_tiles(factored, 0, factored.num_batches):
        tile.accumulate(out, weights[:, start : start + len(tile)])
        start += len(tile)
    return out


def iterate_tiles(factored: FactoredOperator, first: int, last: int) -> Iterator[GradientTile]:
    """The tiles of some pieces; each stands in the workspace until the next is asked for."""
    for batch_index in range(first, last):
        yield from factored.factor_rows(batch_index)


class RoundingEstimator:
    """How much rounding there is in a kernel and in products with root rows, measured.

    With random signs w both K w and R (Rᵀ w) can be had while K is filled, at the price of a few
    more columns; their difference is rounding, in K and in the products R z alike.

    Args:
        factored: whose root rows pass by.
    """

    def __init__(self, factored: FactoredOperator) -> None:
        self._signs = torch.Generator().manual_seed(SEED)
        self._drawn: list[Float[Tensor, "w b"]] = []
        self._spread = factored.like.new_zeros(PROBE_COUNT, factored.size)
        self._seen: list[Float[Tensor, "w b"]] = []

    def observe_first_pass(self, tile: GradientTile) -> None:
        """Take in a tile, each once; all of them before the first is looked at."""
        signs = torch.randint(2, (PROBE_COUNT, len(tile)), generator=self._signs).mul_(2).sub_(1)
        self._drawn.append(signs.to(self._spread))
        tile.accumulate(self._spread, self._drawn[-1])

    def observe_second_pass(self, rows: Float[Tensor, "b p"]) -> None:
        """Take in the same rows again, in the same order."""
        self._seen.append(GradientTile(rows).dot(self._spread).double())

    def estimate_rounding(self, kernel: Float[Tensor, "n n"]) -> Float[Tensor, " 2"]:
        """An estimate of ‖δK‖, δK = K - R Rᵀ (Frobenius); of ‖R z‖'s error over ‖z‖, the largest.

        Either holds both errors, so neither is too small.
        """
        signs, products = torch.cat(self._drawn, 1).double(), torch.cat(self._seen, 1)
        error = (matmul_f64(signs, kernel) - products).norm(dim=1)
        norms = self._spread.double().norm(dim=1)
        matrix_error = error.square().mean().sqrt()  # E ‖δK w‖² = ‖δK‖² for random signs
        return torch.stack([matrix_error, (error / norms.clamp_min(TINY)).amax()]).cpu()


def compute_gram_matrix(
    factored: FactoredOperator, held_batches: int, estimator: RoundingEstimator | None = None
) -> Float[Tensor, "n n"]:
    """K itself, by strips: the rows of `held_batches` pieces are held while all others pass by.

    A `estimator` is shown every tile twice.
    """
    strips, workspace = [], _allocate_workspace(factored, held_batches)
    for first in range(0, factored.num_batches, held_batches):
        last = min(first + held_batches, factored.num_batches)
        rows = _fill_rows(workspace, iterate_tiles(factored, first, last))
        strip = []
        # From the diagonal on only: the rest are mirror images of earlier strips.
        for tile in chain(
            [GradientTile(rows)], iterate_tiles(factored, last, factored.num_batches)
        ):
            strip.append(tile.dot(rows))
            if estimator is not None and first == 0:
                estimator.observe_first_pass(tile)
        if estimator is not None:
            estimator.observe_second_pass(rows)
        strips.append(torch.cat(strip, dim=1))
    return _symmetrize(strips)


def _allocate_workspace(factored: FactoredOperator, num_batches: int) -> Float[Tensor, "h p"]:
    """Room for the root rows of so many pieces, in one matrix: its products take the least time."""
    examples = min(num_batches * factored.batch_size, factored.count)
    return aligned_rows(factored.like, examples * factored.rows_per_example, factored.size)


def _fill_rows(
    rows: Float[Tensor, "h p"], tile_iterator: Iterator[GradientTile]
) -> Float[Tensor, "m p"]:
    """The tiles one after another; those of the rows that they take."""
    count = 0
    for tile in tile_iterator:
        rows[count : count + len(tile)] = tile.gradients
        count += len(tile)
    return rows[:count]


def gram_norms(vectors: Float[Tensor, "q n"], kernel: Float[Tensor, "n n"]) -> Float[Tensor, " q"]:
    """√(eᵀ K e) of each row e, in double precision without a second K of that."""
    return (matmul_f64(vectors, kernel) * vectors).sum(1).clamp_min_(0).sqrt()


@dataclass(frozen=True, eq=False)
class ShiftedInverse:
    """Rows (K + weight I)⁻¹ in double precision, from a factor that is made once.

    Attributes:
        factor: L with L Lᵀ = K + weight I, or V D^-½ with V D⁻¹ Vᵀ its inverse where rounding made
            it indefinite; NaN for a kernel that is not finite.
        is_cholesky: which of the two.
    """

    factor: Float[Tensor, "n n"]
    is_cholesky: bool

    def __call__(self, vectors: Float[Tensor, "q n"]) -> Float[Tensor, "q n"]:
        if self.is_cholesky:
            return torch.cholesky_solve(vectors.T, self.factor).T
        return (vectors @ self.factor) @ self.factor.T

    def extract_blocks(self, positions: Int[Tensor, "m c"]) -> Float[Tensor, "m c c"]:
        """The inverse where rows and columns of `positions` meet, for each of m groups of them."""
        order = positions.amin(1).argsort()
        blocks = self.factor.new_empty(len(positions), positions.shape[1], positions.shape[1])
        for chunk in order.split(max(1, CHUNK // positions.shape[1])):
            half = self._sqrt_columns(positions[chunk])
            blocks[chunk] = torch.einsum("kmc,kmd->mcd", half, half)
        return blocks

    def _sqrt_columns(self, positions: Int[Tensor, "m c"]) -> Float[Tensor, "k m c"]:
        """Columns of B with Bᵀ B = the inverse; of a Cholesky factor those below the first."""
        columns = positions.flatten()
        if not self.is_cholesky:
            return self.factor[columns].T.unflatten(1, positions.shape)
        first = int(columns.min())
        lower = self.factor[first:, first:]
        unit = lower.new_zeros(len(lower), len(columns))
        unit[columns - first, torch.arange(len(columns))] = 1
        return torch.linalg.solve_triangular(lower, unit, upper=False).unflatten(1, positions.shape)


def make_shifted_inverse(kernel: Float[Tensor, "n n"], weight: float) -> ShiftedInverse:
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


def matmul_f64(vectors: Float[Tensor, "q n"], kernel: Float[Tensor, "n n"]) -> Float[Tensor, "q n"]:
    """Rows @ K in double precision."""
    total = torch.zeros_like(vectors)
    for vector_chunk, kernel_chunk in zip(
        vectors.split(CHUNK, 1), kernel.split(CHUNK), strict=True
    ):
        total += vector_chunk @ kernel_chunk.double()
    return total


def _symmetrize(strips: list[Tensor]) -> Tensor:
    """The whole matrix from its upper block rows."""
    size = strips[0].shape[1]
    matrix = strips[0].new_zeros(size, size)
    for strip in strips:
        start, stop = size - strip.shape[1], size - strip.shape[1] + strip.shape[0]
        matrix[start:stop, start:] = strip
        matrix[start:, start:stop] = strip.T
    return matrix
