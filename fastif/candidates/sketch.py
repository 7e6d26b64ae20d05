"""Sketches: each gradient in some hundred numbers, whose inner products are removal effects."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.count_sketch import Fold, Folding
from fastif.candidates.layer_projection import ENERGY, Narrowing
from fastif.curvature.ggn import GaussNewton, no_curvature
from fastif.curvature.sampled_ggn import Drawn
from fastif.data.examples import Batch, Examples, batches
from fastif.errors import InputError
from fastif.gradients.hooks import Pulled
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective

WIDTH, DIMENSIONS = 16_384, 1_000
ROUNDING = 1e-7
"""Eigenvalues below this part of the largest are rounding."""

Sketch = Float[Tensor, "b d"]


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
        fold: S.
        basis: W.
        values: Λ / m, ascending.
        damping: the effective λ.
    """

    fold: Fold
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
        energy: float = ENERGY,
        seed: int = 0,
    ) -> "Sketcher":
        """Find the basis: one forward pass over the examples, and `dimensions` gradients twice.

        Args:
            curvature: G.
            damping: the effective λ.
            dimensions: m, the root rows drawn, and so the length of a sketch; less if the curvature
                has a lower rank.
            width: of the folding.
            energy: share of the squared length of each layer's gradients that its directions keep
                before the folding, see `Narrowing`; 1 narrows nothing.
            seed: of the folding and the draw.

        Raises:
            InputError: λ or a size is not positive, or there is no curvature at all.
        """
        _check(damping, dimensions, width, energy)
        drawn = Drawn.of(curvature, dimensions, seed)
        narrowing = _narrowing(drawn, energy) if energy < 1 else None
        size = curvature.size if narrowing is None else narrowing.size
        fold = Fold(narrowing, Folding(size, width, seed))
        folded = (fold(drawn.gradients, drawn.batch(i), "roots") for i in range(drawn.pieces))
        rows = torch.cat([part for columns in folded for part in columns]).double()
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        kept = values > ROUNDING * float(values[-1])
        if not bool(kept.any()):
            raise no_curvature("sketches")
        values, vectors = values[kept], vectors[:, kept]
        basis = (rows.T @ (vectors / values.sqrt())).to(curvature.like)
        return cls(fold, basis, values / drawn.count, damping)

    @property
    def dimensions(self) -> int:
        """The length of a sketch."""
        return len(self.values)

    def __call__(self, gradients: Gradients, batch: Batch, of: Pulled = "losses") -> Sketch:
        """The sketches of a batch's gradients; zero for one that is not finite."""
        return next(self.fold(gradients, batch, of)) @ self._whitening

    @cached_property
    def _whitening(self) -> Float[Tensor, "w d"]:
        return self.basis * (1 / (self.values + self.damping).sqrt()).to(self.basis)

    def state(self) -> dict[str, Tensor]:
        """As tensors, ready for safetensors."""
        folding, narrowing = self.fold.folding, self.fold.narrowing
        return {
            "basis": self.basis,
            "values": self.values,
            "folding": torch.tensor([folding.size, folding.width, folding.seed]),
            "damping": torch.tensor(self.damping, dtype=torch.float64),
            **({} if narrowing is None else narrowing.state()),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor], objective: Objective) -> "Sketcher":
        """What `state` gave, for the same objective."""
        like = objective.like
        folding = Folding(*(int(number) for number in state["folding"]))
        sides = {name: tensor for name, tensor in state.items() if ":" in name}
        narrowing = Narrowing.of_state(objective.space, sides, like) if sides else None
        values, basis = state["values"].to(like.device), state["basis"].to(like)
        return cls(Fold(narrowing, folding), basis, values, float(state["damping"]))


def _narrowing(drawn: Drawn, energy: float) -> Narrowing | None:
    """Directions of the gradients that were drawn; None if layers cannot be listened to."""
    gradients = drawn.gradients
    if not gradients.listens(drawn.batch(0)):
        return None
    batches = (drawn.batch(piece) for piece in range(drawn.pieces))
    heard = (
        calls
        for batch in batches
        for calls in gradients.taken(batch, "roots", lambda calls: calls, lambda _: [])
    )
    found = Narrowing.of(gradients.objective.space, heard, drawn.like, energy)
    return None if gradients.one_by_one else found


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
        found[places] = _half(sketcher(gradients, batch))
    return found


def query_sketches(
    sketcher: Sketcher,
    gradients: Gradients,
    queries: Examples,
    ids: Int[Tensor, " q"],
    batch_size: int = 32,
) -> Float[Tensor, "q d"]:
    """Sketches of what is asked of these queries, in the order of `ids`, on the model's device."""
    device = gradients.objective.like.device
    found = torch.empty(len(ids), sketcher.dimensions, device=device)
    for places, batch in batches(queries, ids, batch_size):
        found[places.to(device)] = sketcher(gradients, batch, "measures").float()
    return found


def _half(rows: Tensor) -> Tensor:
    """In half precision, whose largest number stands for any that is larger."""
    most = torch.finfo(torch.float16).max
    return rows.clamp(-most, most).half().cpu()


def _check(damping: float, dimensions: int, width: int, energy: float) -> None:
    sizes = {"damping": damping, "dimensions": dimensions, "width": width, "energy": energy}
    for name, value in sizes.items():
        if not value > 0:
            raise InputError(
                f"sketches: {name}", "a number > 0", f"{value}", "Take a positive number."
            )
