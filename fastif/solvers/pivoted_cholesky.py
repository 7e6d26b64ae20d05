"""Randomly pivoted Cholesky: a low-rank factor F with F Fᵀ ≈ K = V Vᵀ, from few columns of K."""

import bisect

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.operator import FactoredOperator
from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.structured_tile import concat_rows
from fastif.solvers.gram import iterate_tiles

SEED = 0
"""Random seed of the pivots, fixed so that a factor is reproducible."""

MIN_PIVOTS = 64
BLOCKS = 16
ROUNDING = 100
"""Units in the last place of the factor rows, below which a remaining diagonal is noise."""


def randomly_pivoted_cholesky(
    factored: FactoredOperator, rank: int, target_trace: float, held_rows: int
) -> tuple[Float[Tensor, "r k"], float]:
    """Randomly pivoted block Cholesky (Chen, Epperly, Tropp and Webber, 2023).

    Pivot columns of the Gram matrix K are sampled block by block, with probability proportional to
    the diagonal of K - F Fᵀ. This diagonal is exact at every step, and its sum bounds all
    eigenvalues of K - F Fᵀ. Memory: F in double precision, and the factor rows of one block of
    pivots.

    Args:
        factored: Curvature with the factor V.
        rank: Largest number k of columns.
        target_trace: Trace of K - F Fᵀ at which to stop.
        held_rows: Number of factor rows in memory during a pass over all others.

    Returns:
        Low-rank factor F, and the trace of K - F Fᵀ.
    """
    starts, diagonal = _compute_diagonal(factored)
    eps = ROUNDING * torch.finfo(factored.like.dtype).eps
    remaining, floor = diagonal.clone(), eps * diagonal
    root, column_count = remaining.new_zeros(len(remaining), min(rank, len(remaining))), 0
    block = max(MIN_PIVOTS, -(-rank // BLOCKS))
    generator = torch.Generator().manual_seed(SEED)
    while (
        column_count < root.shape[1]
        and float(remaining.sum()) > target_trace
        and bool((remaining > floor).any())
    ):
        weights = torch.where(remaining > floor, remaining, 0.0)
        pivots = _sample_pivots(weights, min(block, root.shape[1] - column_count), generator)
        column_chunks = [
            _compute_columns(factored, starts, chunk) for chunk in pivots.split(held_rows)
        ]
        columns = (
            torch.cat(column_chunks, dim=1) - root[:, :column_count] @ root[pivots, :column_count].T
        )
        new_columns = _whiten_columns(columns, pivots, eps)
        root[:, column_count : column_count + new_columns.shape[1]] = new_columns
        column_count += new_columns.shape[1]
        remaining = (remaining - new_columns.square().sum(1)).clamp_min_(0)
        remaining[pivots] = 0  # exactly; rounding would leave a small rest
    return root[:, :column_count], float(remaining.sum())


def _compute_diagonal(factored: FactoredOperator) -> tuple[list[int], Float[Tensor, " r"]]:
    """Return the offset of each batch's factor rows, and the diagonal of K."""
    starts, squares = [0], []
    for batch_index in range(factored.num_batches):
        squares += [
            tile.squared_norms().double() for tile in factored.merge_factor_rows(batch_index)
        ]
        starts.append(sum(map(len, squares)))
    return starts, torch.cat(squares)


def _sample_pivots(weights: Tensor, count: int, generator: torch.Generator) -> Int[Tensor, " b"]:
    count = min(count, int((weights > 0).sum()))
    pivots = torch.multinomial(weights.cpu(), count, generator=generator)
    return pivots.sort().values.to(weights.device)


def _compute_columns(
    factored: FactoredOperator, starts: list[int], pivots: Tensor
) -> Float[Tensor, "r b"]:
    """Compute columns of K: one pass over the batches with pivots, and one over all."""
    pivot_tiles: list[GradientTile] = []
    for batch_index in sorted({bisect.bisect(starts, pivot) - 1 for pivot in pivots.tolist()}):
        start = starts[batch_index]
        for tile in factored.merge_factor_rows(batch_index):
            local_pivots = pivots[(pivots >= start) & (pivots < start + len(tile))] - start
            pivot_tiles.append(tile.select(local_pivots))
            start += len(tile)
    pivot_tile = concat_rows(pivot_tiles)
    tiles = iterate_tiles(factored, 0, factored.num_batches)
    return torch.cat([pivot_tile.products(tile).T.double() for tile in tiles])


def _whiten_columns(columns: Tensor, pivots: Tensor, eps: float) -> Float[Tensor, "r b"]:
    """Return C C[pivots]^-½, without directions that are zero up to rounding."""
    values, vectors = torch.linalg.eigh(columns[pivots])
    significant = values > values[-1].clamp_min(0) * eps
    return columns @ (vectors[:, significant] / values[significant].sqrt())
