"""Tile of per-example gradients as a matrix, in a reused workspace."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.numerics.blocked_dot import pairwise_dots

ALIGNMENT = 64
"""Row stride in numbers, a multiple of 16 bytes in any dtype: tensor cores need aligned rows."""


@dataclass(frozen=True, eq=False)
class GradientTile:
    """Gradients of b examples [b p], held in a workspace that the next tile overwrites.

    Attributes:
        gradients: One gradient in each row.
    """

    gradients: Float[Tensor, "b p"]

    def __len__(self) -> int:
        return len(self.gradients)

    def dot(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q b"]:
        """Return the inner products of q vectors with the b gradients."""
        return pairwise_dots(vectors, self.gradients)

    def accumulate(self, totals: Float[Tensor, "q p"], weights: Float[Tensor, "q b"]) -> None:
        """Add weights @ gradients to `totals`, in place."""
        totals.addmm_(weights, self.gradients)

    def finite_mask(self) -> Bool[Tensor, " b"]:
        """Mask of the gradients without NaN and infinity."""
        return torch.isfinite(self.gradients).all(1)


def aligned_rows(
    like: Tensor, count: int, size: int, dtype: torch.dtype | None = None
) -> Float[Tensor, "count size"]:
    """Allocate an uninitialised matrix with a row stride that is a multiple of `ALIGNMENT`.

    Examples:
        >>> aligned_rows(torch.empty(0), 3, 10).stride()
        (64, 1)
    """
    width = -(-size // ALIGNMENT) * ALIGNMENT
    return like.new_empty(count, width, dtype=dtype or like.dtype)[:, :size]
