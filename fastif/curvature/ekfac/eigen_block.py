"""A block given by all its eigenvectors."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ekfac.block import Block


@dataclass(frozen=True, eq=False)
class Eigen(Block):
    """Q diag(w) Qᵀ, exact, for the few parameters of one owner.

    Args:
        places: where these parameters stand in a row.
        vectors: Q, an eigenvector a column.
        spectrum: w.
    """

    places: tuple[slice, ...]
    vectors: Float[Tensor, "s s"]
    spectrum: Float[Tensor, " s"]

    @property
    def values(self) -> Tensor:
        return self.spectrum

    def apply(self, rows: Float[Tensor, "q p"], out: Float[Tensor, "q p"]) -> None:
        self._scatter((gather(rows, self.places) @ self.vectors) * self.spectrum, out)

    def inverse(
        self,
        rows: Float[Tensor, "q p"],
        out: Float[Tensor, "q p"],
        damping: float,
        negligible: float,
    ) -> None:
        self._scatter((gather(rows, self.places) @ self.vectors) / (self.spectrum + damping), out)

    def tensors(self) -> dict[str, Tensor]:
        return {"vectors": self.vectors, "values": self.spectrum}

    def _scatter(self, turned: Tensor, out: Tensor) -> None:
        """Turned back, and put where it belongs."""
        found = turned @ self.vectors.T
        sizes = [place.stop - place.start for place in self.places]
        for place, part in zip(self.places, found.split(sizes, 1), strict=True):
            out[:, place] = part


def gather(rows: Float[Tensor, "q p"], places: tuple[slice, ...]) -> Float[Tensor, "q s"]:
    """What stands at these places of the rows, side by side."""
    return torch.cat([rows[:, place] for place in places], 1)
