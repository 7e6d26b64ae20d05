"""Sketches: each gradient in some hundred numbers, whose inner products are removal effects."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.drawn import Drawn
from fastif.curvature.ggn import GaussNewton, no_curvature
from fastif.errors import InputError
from fastif.examples import Examples, batches
from fastif.gradients import Gradients, Tile
from fastif.solvers.kernel import tiles

WIDTH, DIMENSIONS = 16_384, 1_000
ROUNDING = 1e-7
"""Eigenvalues below this part of the largest are rounding."""

Sketch = Float[Tensor, "b d"]


@dataclass(frozen=True)
class Folding:
    """S: p numbers folded to `width`, each with a random sign; S of the whole is cheap to apply.

    A count sketch (Charikar, Chen and Farach-Colton, 2002) whose hash shifts blocks of `width`
    numbers as a whole, so that no number is looked up by itself. E⟨Sx, Sy⟩ = ⟨x, y⟩, with a
    variance of at most (‖x‖²‖y‖² + ⟨x, y⟩²) / width.

    >>> folding = Folding(size=10, width=4, seed=0)
    >>> folding(torch.eye(10)).abs().sum(1)  # each number lands in one place
    tensor([1., 1., 1., 1., 1., 1., 1., 1., 1., 1.])
    """

    size: int
    width: int
    seed: int

    def __call__(self, rows: Float[Tensor, "b p"]) -> Float[Tensor, "b w"]:
        folded, signs = rows.new_zeros(len(rows), self.width), self._signs.to(rows)
        for block, shift in enumerate(self._shifts):
            start = block * self.width
            stop = min(start + self.width, self.size)
            turn = min(stop, start + self.width - shift)  # from here on it begins anew at 0
            head, tail = slice(start, turn), slice(turn, stop)
            folded[:, shift : shift + turn - start].addcmul_(rows[:, head], signs[head])
            folded[:, : stop - turn].addcmul_(rows[:, tail], signs[tail])
        return folded

    @cached_property
    def _signs(self) -> Float[Tensor, " p"]:
        generator = torch.Generator().manual_seed(self.seed)
        return 2.0 * torch.randint(0, 2, (self.size,), generator=generator) - 1.0

    @cached_property
    def _shifts(self) -> list[int]:
        generator = torch.Generator().manual_seed(self.seed + 1)
        blocks = -(-self.size // self.width)
        return torch.randint(0, self.width, (blocks,), generator=generator).tolist()


@dataclass(frozen=True, eq=False)
class Sketcher:
    """From gradients to sketches, whose inner products are ∇L(z)ᵀ (G + λI)⁻¹ ∇L_i.

    With m root rows R drawn from the curvature (`Drawn`) and a folding S: F = R Sᵀ has
    F Fᵀ = U Λ Uᵀ, so W = Fᵀ U Λ^-½ is a basis of the directions in which there is curvature, Λ / m
    the curvature along each, and

        sketch(g) = (Λ / m + λI)^-½ Wᵀ S g.

    The curvature is formed and inverted behind the folding, which damps the folding's noise like
    everything else. What of a gradient lies outside of W is left out.

    Attributes:
        folding: S.
        basis: W.
        values: Λ / m, ascending.
        damping: the effective λ.
    """

    folding: Folding
    basis: Float[Tensor, "w d"]
    values: Float[Tensor, " d"]
    damping: float

    @classmethod
    def fit(
        cls,
        curvature: GaussNewton,
        damping: float,
        *,
        dimensions: int = DIMENSIONS,
        width: int = WIDTH,
        seed: int = 0,
    ) -> "Sketcher":
        """Find the basis: one forward pass over the examples, and `dimensions` gradients.

        Args:
            curvature: G.
            damping: the effective λ.
            dimensions: m, the root rows drawn, and so the length of a sketch; less if the curvature
                has a lower rank.
            width: of the folding.
            seed: of the folding and the draw.

        Raises:
            InputError: λ or a size is not positive, or there is no curvature at all.
        """
        _check(damping, dimensions, width)
        folding = Folding(curvature.size, width, seed)
        drawn = Drawn.of(curvature, dimensions, seed)
        rows = torch.cat([folding(tile.rows) for tile in tiles(drawn, 0, drawn.pieces)]).double()
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        kept = values > ROUNDING * float(values[-1])
        if not bool(kept.any()):
            raise no_curvature("sketches")
        values, vectors = values[kept], vectors[:, kept]
        basis = (rows.T @ (vectors / values.sqrt())).to(curvature.like)
        return cls(folding, basis, values / drawn.count, damping)

    @property
    def dimensions(self) -> int:
        """The length of a sketch."""
        return len(self.values)

    def __call__(self, tile: Tile) -> Sketch:
        """The sketches of a tile of gradients; zero for one that is not finite."""
        rows = self.folding(tile.rows) @ self._whitening
        return rows.masked_fill_(~torch.isfinite(rows).all(1, keepdim=True), 0.0)

    @cached_property
    def _whitening(self) -> Float[Tensor, "w d"]:
        return self.basis * (1 / (self.values + self.damping).sqrt()).to(self.basis)

    def state(self) -> dict[str, Tensor]:
        """As tensors, ready for safetensors."""
        numbers = [self.folding.size, self.folding.width, self.folding.seed]
        return {
            "basis": self.basis,
            "values": self.values,
            "folding": torch.tensor(numbers),
            "damping": torch.tensor(self.damping, dtype=torch.float64),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor], like: Tensor) -> "Sketcher":
        """What `state` gave, on the device of `like`."""
        size, width, seed = (int(number) for number in state["folding"])
        values = state["values"].to(like.device)
        basis = state["basis"].to(like)
        return cls(Folding(size, width, seed), basis, values, float(state["damping"]))


def train_sketches(
    sketcher: Sketcher,
    gradients: Gradients,
    train: Examples,
    ids: Int[Tensor, " m"],
    batch_size: int = 32,
) -> Float[Tensor, "m d"]:
    """Sketches of these training examples, in half precision, in the order of `ids`."""
    found = torch.empty(len(ids), sketcher.dimensions, dtype=torch.float16)
    for places, batch in batches(train, ids, batch_size):
        found[places] = _half(sketcher(gradients.of_losses(batch)))
    return found


def query_sketches(
    sketcher: Sketcher,
    gradients: Gradients,
    queries: Examples,
    ids: Int[Tensor, " q"],
    batch_size: int = 32,
) -> Float[Tensor, "q d"]:
    """Sketches of what is asked of these queries, in the order of `ids`."""
    found = torch.empty(len(ids), sketcher.dimensions)
    for places, batch in batches(queries, ids, batch_size):
        found[places] = sketcher(gradients.of_measures(batch)).float().cpu()
    return found


def _half(rows: Tensor) -> Tensor:
    """In half precision, whose largest number stands for any that is larger."""
    most = torch.finfo(torch.float16).max
    return rows.clamp(-most, most).half().cpu()


def _check(damping: float, dimensions: int, width: int) -> None:
    for name, value in (("damping", damping), ("dimensions", dimensions), ("width", width)):
        if not value > 0:
            raise InputError(
                f"sketches: {name}", "a number > 0", f"{value}", "Take a positive number."
            )
