"""Interface of one block of a block-diagonal curvature matrix."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor


class Block(ABC):
    """Symmetric positive semi-definite block B [s s] on some of the p coordinates of a vector.

    Both products read the block's coordinates of `vectors`, write those of `out`, and leave all
    others unchanged.
    """

    @property
    @abstractmethod
    def eigenvalues(self) -> Tensor:
        """All s eigenvalues, in the shape in which the block holds them."""

    @abstractmethod
    def apply(self, vectors: Float[Tensor, "q p"], out: Float[Tensor, "q p"]) -> None:
        """Write `vectors @ B` into the block's coordinates of `out`."""

    @abstractmethod
    def apply_inverse(
        self,
        vectors: Float[Tensor, "q p"],
        out: Float[Tensor, "q p"],
        damping: float,
        negligible: float,
    ) -> None:
        """Write `vectors @ (B + damping·I)⁻¹` into the block's coordinates of `out`.

        Args:
            vectors: Vectors to multiply.
            out: Tensor that receives the products.
            damping: Damping λ > 0.
            negligible: Allowed relative error of each product.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that define the block, by name."""
