"""The gradients of a tile of examples as rows, and the memory they stand in."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fastif.numerics.blocked_dot import pairwise_dots

ALIGNMENT = 64
"""A multiple of 16 bytes in any precision: tensor cores read matrices of other strides slowly."""


@dataclass(frozen=True, eq=False)
class GradientTile:
    """The gradients of b examples, as rows. They stand in a workspace: use before the next tile.

    Attributes:
        gradients: one gradient a row.
    """

    gradients: Float[Tensor, "b p"]

    def __len__(self) -> int:
        return len(self.gradients)

    def dot(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q b"]:
        """Inner product of every row with every gradient of the tile."""
        return pairwise_dots(vectors, self.gradients)

    def accumulate(self, totals: Float[Tensor, "q p"], weights: Float[Tensor, "q b"]) -> None:
        """Rows += weights @ gradients, in place."""
        totals.addmm_(weights, self.gradients)

    def finite_mask(self) -> Bool[Tensor, " b"]:
        """Which gradients are free of NaN and infinity."""
        return torch.isfinite(self.gradients).all(1)


def aligned_rows(
    like: Tensor, count: int, size: int, dtype: torch.dtype | None = None
) -> Float[Tensor, "count size"]:
    """A matrix not yet filled, whose rows begin at multiples of `ALIGNMENT` numbers.

    >>> aligned_rows(torch.empty(0), 3, 10).stride()
    (64, 1)
    """
    width = -(-size // ALIGNMENT) * ALIGNMENT
    return like.new_empty(count, width, dtype=dtype or like.dtype)[:, :size]
