"""A block that is a diagonal."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.block import Block


@dataclass(frozen=True, eq=False)
class DiagonalBlock(Block):
    """Only each number's own curvature: for what is too large for anything better.

    Args:
        param_slice: where the parameter stands in a row.
        diagonal: the curvature of each of its numbers.
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
