"""Tile of per-example gradients as a matrix, in a reused workspace."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.numerics.arithmetic import HALF
from fastif.numerics.blocked_dot import pairwise_dots, row_norms

ALIGNMENT = 64
"""Row stride in numbers, a multiple of 16 bytes in any dtype: tensor cores need aligned rows."""


class GradientTile:
    """Gradients of b examples [b p], held in a workspace that the next tile overwrites.

    `StructuredTile` offers the same operations without such a matrix.

    Args:
        gradients: One gradient in each row.
    """

    def __init__(self, gradients: Float[Tensor, "b p"]) -> None:
        self._gradients = gradients

    @property
    def gradients(self) -> Float[Tensor, "b p"]:
        """Gradients, one in each row; a change of this matrix changes the tile."""
        return self._gradients

    @property
    def dtype(self) -> torch.dtype:
        """Type of the gradients."""
        return self.gradients.dtype

    @property
    def byte_count(self) -> int:
        """Memory of the tile in bytes."""
        return self.gradients.numel() * self.gradients.element_size()

    @property
    def product_size(self) -> float:
        """Number of multiplications in the inner product of two of these gradients."""
        return float(self.gradients.shape[1])

    def __len__(self) -> int:
        return len(self.gradients)

    def dot(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q b"]:
        """Return the inner products of q vectors with the b gradients."""
        return pairwise_dots(vectors, self.gradients)

    def accumulate(self, totals: Float[Tensor, "q p"], weights: Float[Tensor, "q b"]) -> None:
        """Add weights @ gradients to `totals`, in place."""
        totals.addmm_(weights, self.gradients)

    def products(self, other: "GradientTile") -> Float[Tensor, "b m"]:
        """Return the inner products of these b gradients with the m of another tile."""
        return other.dot(self.gradients)

    def norms(self) -> Float[Tensor, " b"]:
        """Return the Euclidean norms of the gradients."""
        return row_norms(self.gradients)

    def squared_norms(self) -> Float[Tensor, " b"]:
        """Return the squared Euclidean norms of the gradients."""
        return self.gradients.square().sum(1)

    def parameter_norms(self, slices: Sequence[slice]) -> list[Float[Tensor, " b"]]:
        """Return the norms of the parts of the gradients in single parameters.

        Args:
            slices: Columns of each parameter, those of all parameters in order.
        """
        dtype = torch.float32 if self.dtype in HALF else self.dtype
        parts = (self.gradients[:, columns] for columns in slices)
        return [torch.linalg.vector_norm(part, dim=1, dtype=dtype).float() for part in parts]

    def finite_mask(self) -> Bool[Tensor, " b"]:
        """Mask of the gradients without NaN and infinity."""
        return torch.isfinite(self.gradients).all(1)

    def zero_nonfinite(self) -> Bool[Tensor, " b"]:
        """Set gradients without a finite norm to zero, and return their mask."""
        nonfinite = ~torch.isfinite(self.gradients.norm(dim=1))
        if bool(nonfinite.any()):
            self.gradients[nonfinite] = 0
        return nonfinite

    def select(self, positions: Int[Tensor, " m"]) -> "GradientTile":
        """Return a copy of some gradients, which the next tile does not overwrite."""
        return GradientTile(self.gradients[positions])


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
