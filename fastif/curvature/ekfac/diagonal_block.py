"""Diagonal curvature block, for parameters that are too large for a dense block."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.block import Block


@dataclass(frozen=True, eq=False)
class DiagonalBlock(Block):
    """Diagonal block: the curvature of each parameter entry alone, without cross terms.

    Attributes:
        param_slice: Coordinates of the parameter in a vector.
        diagonal: Curvature of each entry.
    """

    param_slice: slice
    diagonal: Float[Tensor, " s"]

    @property
    def eigenvalues(self) -> Tensor:
        return self.diagonal

    def apply(self, vectors: Float[Tensor, "q p"], out: Float[Tensor, "q p"]) -> None:
        out[:, self.param_slice] = vectors[:, self.param_slice] * self.diagonal

    def apply_inverse(
        self,
        vectors: Float[Tensor, "q p"],
        out: Float[Tensor, "q p"],
        damping: float,
        negligible: float,
    ) -> None:
        out[:, self.param_slice] = vectors[:, self.param_slice] / (self.diagonal + damping)

    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.diagonal}
