"""Dense curvature block, held as its eigendecomposition."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.block import Block


@dataclass(frozen=True, eq=False)
class EigenBlock(Block):
    """Exact dense block Q diag(w) Qᵀ for the few parameters of one module.

    Attributes:
        param_slices: Coordinates of the parameters in a vector.
        eigenvectors: Orthogonal matrix Q, one eigenvector in each column.
        spectrum: Eigenvalues w, 0 or more.
    """

    param_slices: tuple[slice, ...]
    eigenvectors: Float[Tensor, "s s"]
    spectrum: Float[Tensor, " s"]

    @property
    def eigenvalues(self) -> Tensor:
        return self.spectrum

    def apply(self, vectors: Float[Tensor, "q p"], out: Float[Tensor, "q p"]) -> None:
        self._scatter(
            (gather_slices(vectors, self.param_slices) @ self.eigenvectors) * self.spectrum, out
        )

    def apply_inverse(
        self,
        vectors: Float[Tensor, "q p"],
        out: Float[Tensor, "q p"],
        damping: float,
        negligible: float,
    ) -> None:
        self._scatter(
            (gather_slices(vectors, self.param_slices) @ self.eigenvectors)
            / (self.spectrum + damping),
            out,
        )

    def tensors(self) -> dict[str, Tensor]:
        return {"vectors": self.eigenvectors, "values": self.spectrum}

    def _scatter(self, rotated: Tensor, out: Tensor) -> None:
        """Rotate back from the eigenbasis and write into the block's coordinates of `out`."""
        vectors = rotated @ self.eigenvectors.T
        sizes = [param_slice.stop - param_slice.start for param_slice in self.param_slices]
        for param_slice, values in zip(self.param_slices, vectors.split(sizes, 1), strict=True):
            out[:, param_slice] = values


def gather_slices(
    vectors: Float[Tensor, "q p"], param_slices: tuple[slice, ...]
) -> Float[Tensor, "q s"]:
    """Concatenate the given coordinates of each vector."""
    return torch.cat([vectors[:, param_slice] for param_slice in param_slices], 1)
