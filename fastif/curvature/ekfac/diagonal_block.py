"""A block that is a diagonal."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.block import Block


@dataclass(frozen=True, eq=False)
class Diagonal(Block):
    """Only each number's own curvature: for what is too large for anything better.

    Args:
        place: where the parameter stands in a row.
        diagonal: the curvature of each of its numbers.
    """

    place: slice
    diagonal: Float[Tensor, " s"]

    @property
    def values(self) -> Tensor:
        return self.diagonal

    def apply(self, rows: Float[Tensor, "q p"], out: Float[Tensor, "q p"]) -> None:
        out[:, self.place] = rows[:, self.place] * self.diagonal

    def inverse(
        self,
        rows: Float[Tensor, "q p"],
        out: Float[Tensor, "q p"],
        damping: float,
        negligible: float,
    ) -> None:
        out[:, self.place] = rows[:, self.place] / (self.diagonal + damping)

    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.diagonal}
