"""Gram matrix K = V Vᵀ of the rows of a GGN factor, which are computed in tiles."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.operator import FactoredOperator, LinearOperator
from fastif.gradients.gradient_tile import GradientTile
from fastif.solvers.held_rows import HeldRows
from fastif.solvers.product_precision import use_precision
from fastif.solvers.settings import Products

CHUNK = 1024
"""Rows of a Gram matrix that are converted to double precision at once."""

PROBE_COUNT = 4
"""Number of random probe vectors for rounding."""
SEED = 0
"""Random seed of the probe signs, fixed so that a factor is reproducible."""

TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True, eq=False)
class GramOperator(LinearOperator):
    """Operator K = V Vᵀ, applied by two passes over the factor rows, in double precision.

    Rows and columns have the order in which tiles of factor rows are computed.

    Attributes:
        factored: Curvature with the factor V.
    """

    factored: FactoredOperator

    @property
    def size(self) -> int:
        return self.factored.count * self.factored.rows_per_example

    @property
    def like(self) -> Tensor:
        return self.factored.like.double()

    def apply(self, vectors: Float[Tensor, "q r"]) -> Float[Tensor, "q r"]:
        return apply_factor(self.factored, apply_factor_transpose(self.factored, vectors))


def apply_factor(
    factored: FactoredOperator, vectors: Float[Tensor, "q p"], precision: Products = "single"
) -> Float[Tensor, "q r"]:
    """Return V x for q vectors, in double precision, with one pass over the factor rows.

    Args:
        factored: Curvature with the factor V; its rows are computed in single precision.
        vectors: Vectors x.
        precision: Precision of their products with the rows.
    """
    products = []
    for tile in iterate_tiles(factored, 0, factored.num_batches):
        with use_precision(vectors.device, precision):
            products.append(tile.dot(vectors).double())
    return torch.cat(products, dim=1)


def apply_factor_transpose(
    factored: FactoredOperator,
    weights: Float[Tensor, "q r"],
    out: Float[Tensor, "q p"] | None = None,
) -> Float[Tensor, "q p"]:
    """Return out + weights @ V, in place if `out` is given, with one pass over the factor rows.

    Args:
        factored: Curvature with the factor V.
        weights: Coefficients of the r factor rows.
        out: Vectors to add to, overwritten; zeros if omitted.
    """
    like = factored.like
    if out is None:
        out = like.new_zeros(len(weights), factored.size)
    weights, start = weights.to(like.dtype), 0
    for tile in iterate_tiles(factored, 0, factored.num_batches):
        with use_precision(like.device, "single"):
            tile.accumulate(out, weights[:, start : start + len(tile)])
        start += len(tile)
    return out


def iterate_tiles(factored: FactoredOperator, first: int, last: int) -> Iterator[GradientTile]:
    """Iterate over the tiles of some batches; each tile is overwritten by the next."""
    for batch_index in range(first, last):
        yield from factored.merge_factor_rows(batch_index)


class RoundingEstimator:
    """Randomized estimate of rounding in a Gram matrix K and in products with factor rows.

    For random signs w, K w and V (Vᵀ w) are equal in exact arithmetic. Both are computed while K
    is, for the cost of a few more columns. Their difference is the rounding of K and of the
    products V z together.

    Args:
        factored: Curvature with the factor V.
    """

    def __init__(self, factored: FactoredOperator) -> None:
        self._generator = torch.Generator().manual_seed(SEED)
        self._signs: list[Float[Tensor, "w b"]] = []
        self._combination = factored.like.new_zeros(PROBE_COUNT, factored.size)
        self._products: list[Float[Tensor, "w b"]] = []

    def observe_first_pass(self, tile: GradientTile) -> None:
        """Accumulate Vᵀ w over a tile; every tile must be passed once before the second pass."""
        signs = (
            torch.randint(2, (PROBE_COUNT, len(tile)), generator=self._generator).mul_(2).sub_(1)
        )
        self._signs.append(signs.to(self._combination))
        tile.accumulate(self._combination, self._signs[-1])

    def observe_second_pass(self, tile: GradientTile) -> None:
        """Compute V (Vᵀ w) for a tile, in the order of the first pass."""
        self._products.append(tile.dot(self._combination).double())

    def estimate_rounding(self, kernel: Float[Tensor, "r r"]) -> Float[Tensor, " 2"]:
        """Estimate ‖δK‖_F for δK = K - V Vᵀ, and the largest relative error of ‖V z‖ / ‖z‖.

        Both estimates contain both errors, so neither is too small.

        Args:
            kernel: Computed Gram matrix K.
        """
        signs, products = torch.cat(self._signs, 1).double(), torch.cat(self._products, 1)
        error = (matmul_f64(signs, kernel) - products).norm(dim=1)
        norms = self._combination.double().norm(dim=1)
        matrix_error = error.square().mean().sqrt()  # E ‖δK w‖² = ‖δK‖² for random signs
        return torch.stack([matrix_error, (error / norms.clamp_min(TINY)).amax()]).cpu()


def compute_gram_matrix(
    factored: FactoredOperator,
    held_batches: int,
    estimator: RoundingEstimator | None = None,
    precision: Products = "single",
) -> Float[Tensor, "r r"]:
    """Compute K in strips: factor rows of `held_batches` batches against all later ones.

    Args:
        factored: Curvature with the factor V.
        held_batches: Number of batches with factor rows in memory at once; more of them where the
            rows are held as factors, in equal memory.
        estimator: Rounding estimator that observes every tile in two passes; none if omitted.
        precision: Precision of the products of factor rows; the rows themselves, and the products
            of the estimator, are in single precision.
    """
    strips, held, first = [], HeldRows(factored, held_batches), 0
    while first < factored.num_batches:
        is_first = first == 0
        tiles, first = held.hold(first)
        rows: list[list[Tensor]] = [[] for _ in tiles]
        # Only blocks from the diagonal on: the others follow by symmetry.
        for index, tile in enumerate(
            chain(tiles, iterate_tiles(factored, first, factored.num_batches))
        ):
            with use_precision(factored.like.device, precision):
                for held_tile, blocks in zip(tiles[: index + 1], rows, strict=False):
                    blocks.append(held_tile.products(tile))
            if estimator is not None and is_first:
                estimator.observe_first_pass(tile)
        if estimator is not None:
            for tile in tiles:
                estimator.observe_second_pass(tile)
        strips += [torch.cat(blocks, dim=1) for blocks in rows]
    return _symmetrize(strips)


def gram_norms(vectors: Float[Tensor, "q r"], kernel: Float[Tensor, "r r"]) -> Float[Tensor, " q"]:
    """Return √(eᵀ K e) of each vector e in double precision, while K stays in its own dtype."""
    return (matmul_f64(vectors, kernel) * vectors).sum(1).clamp_min_(0).sqrt()


@dataclass(frozen=True, eq=False)
class ShiftedInverse:
    """Inverse of K + weight·I in double precision, from a factorisation that is made once.

    Attributes:
        factor: Cholesky factor L with L Lᵀ = K + weight·I. If rounding made K indefinite: U D^-½
            with U D⁻¹ Uᵀ the inverse. NaN for a matrix that is not finite.
        is_cholesky: Whether the factor is the Cholesky factor.
    """

    factor: Float[Tensor, "r r"]
    is_cholesky: bool

    def __call__(self, vectors: Float[Tensor, "q r"]) -> Float[Tensor, "q r"]:
        if self.is_cholesky:
            return torch.cholesky_solve(vectors.T, self.factor).T
        return (vectors @ self.factor) @ self.factor.T

    def extract_blocks(self, positions: Int[Tensor, "m c"]) -> Float[Tensor, "m c c"]:
        """Return m diagonal blocks of the inverse, each for c positions."""
        order = positions.amin(1).argsort()
        blocks = self.factor.new_empty(len(positions), positions.shape[1], positions.shape[1])
        for chunk in order.split(max(1, CHUNK // positions.shape[1])):
            half = self._sqrt_columns(positions[chunk])
            blocks[chunk] = torch.einsum("kmc,kmd->mcd", half, half)
        return blocks

    def _sqrt_columns(self, positions: Int[Tensor, "m c"]) -> Float[Tensor, "k m c"]:
        """Return columns of B with Bᵀ B = the inverse, without leading zeros for Cholesky."""
        columns = positions.flatten()
        if not self.is_cholesky:
            return self.factor[columns].T.unflatten(1, positions.shape)
        first = int(columns.min())
        lower = self.factor[first:, first:]
        unit = lower.new_zeros(len(lower), len(columns))
        unit[columns - first, torch.arange(len(columns))] = 1
        return torch.linalg.solve_triangular(lower, unit, upper=False).unflatten(1, positions.shape)


def make_shifted_inverse(kernel: Float[Tensor, "r r"], weight: float) -> ShiftedInverse:
    """Factorise K + weight·I; eigenvalues of K that rounding made negative count as 0."""
    shifted = kernel.double() if kernel.dtype != torch.float64 else kernel.clone()
    shifted.diagonal().add_(weight)
    lower, failed = torch.linalg.cholesky_ex(shifted)
    if not failed:
        return ShiftedInverse(lower, True)
    if not torch.isfinite(kernel).all():
        return ShiftedInverse(torch.full_like(shifted, torch.nan), False)
    values, vectors = torch.linalg.eigh(kernel.double())
    return ShiftedInverse(vectors / (values.clamp_min(0) + weight).sqrt(), False)


def matmul_f64(vectors: Float[Tensor, "q r"], kernel: Float[Tensor, "r r"]) -> Float[Tensor, "q r"]:
    """Return `vectors @ K` in double precision."""
    total = torch.zeros_like(vectors)
    for vector_chunk, kernel_chunk in zip(
        vectors.split(CHUNK, 1), kernel.split(CHUNK), strict=True
    ):
        total += vector_chunk @ kernel_chunk.double()
    return total


def _symmetrize(strips: list[Tensor]) -> Tensor:
    """Assemble the symmetric matrix from its upper block rows."""
    size = strips[0].shape[1]
    matrix = strips[0].new_zeros(size, size)
    for strip in strips:
        start, stop = size - strip.shape[1], size - strip.shape[1] + strip.shape[0]
        matrix[start:stop, start:] = strip
        matrix[start:, start:stop] = strip.T
    return matrix
