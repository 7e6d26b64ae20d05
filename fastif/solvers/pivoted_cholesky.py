"""F with few columns and F Fᵀ ≈ R Rᵀ, from the root rows of few examples."""

import bisect

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.operator import Rooted
from fastif.solvers.gram import tiles

SEED = 0
"""Of the pivots: a factor made again is the same."""

LEAST_PIVOTS = 64
BLOCKS = 16
ROUNDING = 100
"""Units in the last place of the root rows' type, below which what is left is not known."""


def low_rank_root(
    rooted: Rooted, rank: int, enough: float, held: int
) -> tuple[Float[Tensor, "n r"], float]:
    """Randomly pivoted block Cholesky (Chen, Epperly, Tropp and Webber, 2023); F and tr(K - F Fᵀ).

    The columns of the kernel that are taken are drawn, a block at a time, with probability in
    proportion to what is still left of the diagonal. What is left is known exactly at every step,
    and no eigenvalue of K - F Fᵀ exceeds its sum. Memory: n x r in double precision, and the root
    rows of one block of pivots.

    Args:
        rooted: whose root rows make the kernel.
        rank: columns at most.
        enough: the trace at which to stop.
        held: root rows held while the others pass by.
    """
    starts, diagonal = _diagonal(rooted)
    eps = ROUNDING * torch.finfo(rooted.like.dtype).eps
    left, floor = diagonal.clone(), eps * diagonal
    root, got = left.new_zeros(len(left), min(rank, len(left))), 0
    block = max(LEAST_PIVOTS, -(-rank // BLOCKS))
    generator = torch.Generator().manual_seed(SEED)
    while got < root.shape[1] and float(left.sum()) > enough and bool((left > floor).any()):
        drawable = torch.where(left > floor, left, 0.0)
        pivots = _drawn(drawable, min(block, root.shape[1] - got), generator)
        parts = [_columns(rooted, starts, part) for part in pivots.split(held)]
        columns = torch.cat(parts, dim=1) - root[:, :got] @ root[pivots, :got].T
        fresh = _orthogonal(columns, pivots, eps)
        root[:, got : got + fresh.shape[1]] = fresh
        got += fresh.shape[1]
        left = (left - fresh.square().sum(1)).clamp_min_(0)
        left[pivots] = 0  # but for rounding
    return root[:, :got], float(left.sum())


def _diagonal(rooted: Rooted) -> tuple[list[int], Float[Tensor, " n"]]:
    """Where each piece's rows start, and the squared length of every root row."""
    starts, squares = [0], []
    for piece in range(rooted.pieces):
        squares += [tile.rows.square().sum(1).double() for tile in rooted.roots(piece)]
        starts.append(sum(map(len, squares)))
    return starts, torch.cat(squares)


def _drawn(chances: Tensor, count: int, generator: torch.Generator) -> Int[Tensor, " b"]:
    count = min(count, int((chances > 0).sum()))
    drawn = torch.multinomial(chances.cpu(), count, generator=generator)
    return drawn.sort().values.to(chances.device)


def _columns(rooted: Rooted, starts: list[int], pivots: Tensor) -> Float[Tensor, "n b"]:
    """These columns of the kernel: one sweep over the pieces with pivots, one over all."""
    held: list[Tensor] = []
    for piece in sorted({bisect.bisect(starts, pivot) - 1 for pivot in pivots.tolist()}):
        start = starts[piece]
        for tile in rooted.roots(piece):
            inside = pivots[(pivots >= start) & (pivots < start + len(tile))] - start
            held.append(tile.rows[inside])
            start += len(tile)
    rows = torch.cat(held)
    return torch.cat([tile.times(rows).T.double() for tile in tiles(rooted, 0, rooted.pieces)])


def _orthogonal(columns: Tensor, pivots: Tensor, eps: float) -> Float[Tensor, "n b"]:
    """C C[pivots]^-½; what of the block is the same but for rounding is left out."""
    values, vectors = torch.linalg.eigh(columns[pivots])
    kept = values > values[-1].clamp_min(0) * eps
    return columns @ (vectors[:, kept] / values[kept].sqrt())
