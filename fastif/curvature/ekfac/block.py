"""One block of a block-diagonal matrix."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor


class Block(ABC):
    """A symmetric positive semi-definite matrix on some places of a row.

    Both methods read those places of `vectors`, write those of `out`, and leave all others alone.
    """

    @property
    @abstractmethod
    def eigenvalues(self) -> Tensor:
        """The eigenvalues, in any shape."""

    @abstractmethod
    def apply(self, vectors: Float[Tensor, "q p"], out: Float[Tensor, "q p"]) -> None:
        """The places of `out` become rows @ B."""

    @abstractmethod
    def apply_inverse(
        self,
        vectors: Float[Tensor, "q p"],
        out: Float[Tensor, "q p"],
        damping: float,
        negligible: float,
    ) -> None:
        """The places of `out` become rows @ (B + damping I)⁻¹, to a relative error `negligible`."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What the block is made of, by name."""
