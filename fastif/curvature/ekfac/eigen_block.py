"""A block given by all its eigenvectors."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.block import Block


@dataclass(frozen=True, eq=False)
class EigenBlock(Block):
    """Q diag(w) Qᵀ, exact, for the few parameters of one owner.

    Args:
        param_slices: where these parameters stand in a row.
        eigenvectors: Q, an eigenvector a column.
        spectrum: w.
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
        """Turned back, and put where it belongs."""
        vectors = rotated @ self.eigenvectors.T
        sizes = [param_slice.stop - param_slice.start for param_slice in self.param_slices]
        for param_slice, values in zip(self.param_slices, vectors.split(sizes, 1), strict=True):
            out[:, param_slice] = values


def gather_slices(
    vectors: Float[Tensor, "q p"], param_slices: tuple[slice, ...]
) -> Float[Tensor, "q s"]:
    """What stands at these places of the rows, side by side."""
    return torch.cat([vectors[:, param_slice] for param_slice in param_slices], 1)
