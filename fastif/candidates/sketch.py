"""Sketches: each gradient in some hundred numbers, whose inner products are removal effects."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.count_sketch import CountSketch, GradientProjector
from fastif.candidates.layer_projection import ENERGY, LayerProjection
from fastif.curvature.ggn import GaussNewton, zero_curvature_error
from fastif.curvature.sampled_ggn import SampledGaussNewton
from fastif.data.examples import Batch, Examples, all_ids
from fastif.errors import InputError
from fastif.gradients.hooks import GradientOf
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective

WIDTH, DIMENSIONS = 16_384, 1_000
ROUNDING = 1e-7
"""Eigenvalues below this part of the largest are rounding."""

Sketch = Float[Tensor, "b d"]


@dataclass(frozen=True, eq=False)
class GradientSketcher:
    """From gradients to sketches, whose inner products are ∇L(z)ᵀ (G + λI)⁻¹ ∇L_i.

    With m root rows R drawn from the curvature (`SampledGaussNewton`) and a folding S: F = R Sᵀ has
    F Fᵀ = U Λ Uᵀ, so W = Fᵀ U Λ^-½ is a basis of the directions in which there is curvature, Λ / m
    the curvature along each, and

        sketch(g) = (Λ / m + λI)^-½ Wᵀ S g.

    The curvature is formed and inverted behind the folding, which damps the folding's noise like
    everything else. What of a gradient lies outside of W is left out.

    Attributes:
        projector: S.
        basis: W.
        values: Λ / m, ascending.
        damping: the effective λ.
    """

    projector: GradientProjector
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
    ) -> "GradientSketcher":
        """Find the basis: one forward pass over the examples, and `dimensions` gradients twice.

        Args:
            curvature: G.
            damping: the effective λ.
            dimensions: m, the root rows drawn, and so the length of a sketch; less if the curvature
                has a lower rank.
            width: of the folding.
            energy: share of the squared length of each layer's gradients that its directions keep
                before the folding, see `LayerProjection`; 1 narrows nothing.
            seed: of the folding and the draw.

        Raises:
            InputError: λ or a size is not positive, or there is no curvature at all.
        """
        _check_sizes(damping, dimensions, width, energy)
        sampled = SampledGaussNewton.from_curvature(curvature, dimensions, seed)
        projection = _fit_projection(sampled, energy) if energy < 1 else None
        size = curvature.size if projection is None else projection.size
        projector = GradientProjector(projection, CountSketch(size, width, seed))
        projected = (
            projector(sampled.gradients, sampled.make_batch(batch_index), "roots")
            for batch_index in range(sampled.num_batches)
        )
        factor = torch.cat(
            [vectors_chunk for columns in projected for vectors_chunk in columns]
        ).double()
        values, vectors = torch.linalg.eigh(factor @ factor.T)
        significant = values > ROUNDING * float(values[-1])
        if not bool(significant.any()):
            raise zero_curvature_error("sketches")
        values, vectors = values[significant], vectors[:, significant]
        basis = (factor.T @ (vectors / values.sqrt())).to(curvature.like)
        return cls(projector, basis, values / sampled.count, damping)

    @property
    def dimensions(self) -> int:
        """The length of a sketch."""
        return len(self.values)

    def __call__(
        self, gradients: Gradients, batch: Batch, gradient_of: GradientOf = "losses"
    ) -> Sketch:
        """The sketches of a batch's gradients; zero for one that is not finite."""
        return next(self.projector(gradients, batch, gradient_of)) @ self._whitening

    @cached_property
    def _whitening(self) -> Float[Tensor, "w d"]:
        return self.basis * (1 / (self.values + self.damping).sqrt()).to(self.basis)

    def state_dict(self) -> dict[str, Tensor]:
        """As tensors, ready for safetensors."""
        count_sketch, projection = self.projector.count_sketch, self.projector.projection
        return {
            "basis": self.basis,
            "values": self.values,
            "folding": torch.tensor([count_sketch.size, count_sketch.width, count_sketch.seed]),
            "damping": torch.tensor(self.damping, dtype=torch.float64),
            **({} if projection is None else projection.state_dict()),
        }

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Tensor], objective: Objective
    ) -> "GradientSketcher":
        """What `state_dict` gave, for the same objective."""
        like = objective.like
        count_sketch = CountSketch(*(int(number) for number in state["folding"]))
        bases = {name: tensor for name, tensor in state.items() if ":" in name}
        projection = (
            LayerProjection.from_state_dict(objective.space, bases, like) if bases else None
        )
        values, basis = state["values"].to(like.device), state["basis"].to(like)
        return cls(
            GradientProjector(projection, count_sketch), basis, values, float(state["damping"])
        )


def _fit_projection(sampled: SampledGaussNewton, energy: float) -> LayerProjection | None:
    """Directions of the gradients that were drawn; None if layers cannot be listened to."""
    gradients = sampled.gradients
    if not gradients.uses_hooks(sampled.make_batch(0)):
        return None
    batches = (sampled.make_batch(batch_index) for batch_index in range(sampled.num_batches))
    passes = (
        calls
        for batch in batches
        for calls in gradients.map_columns(batch, "roots", lambda calls: calls, lambda _: [])
    )
    projection = LayerProjection.fit(gradients.objective.space, passes, sampled.like, energy)
    return None if gradients.per_example_backward else projection


def compute_train_sketches(
    sketcher: GradientSketcher,
    gradients: Gradients,
    train: Examples,
    ids: Int[Tensor, " m"] | None = None,
) -> Float[Tensor, "m d"]:
    """Sketches of these training examples, in half precision, in the order of `ids`; or of all."""
    ids = all_ids(train) if ids is None else ids
    sketches = torch.empty(len(ids), sketcher.dimensions, dtype=torch.float16)
    for positions, batch in train.batches(ids):
        sketches[positions] = _to_half(sketcher(gradients, batch))
    return sketches


def compute_query_sketches(
    sketcher: GradientSketcher,
    gradients: Gradients,
    queries: Examples,
    ids: Int[Tensor, " q"] | None = None,
) -> Float[Tensor, "q d"]:
    """Sketches of what is asked of these queries, or of all, on the model's device."""
    ids = all_ids(queries) if ids is None else ids
    device = gradients.objective.like.device
    sketches = torch.empty(len(ids), sketcher.dimensions, device=device)
    for positions, batch in queries.batches(ids):
        sketches[positions.to(device)] = sketcher(gradients, batch, "measures").float()
    return sketches


def _to_half(sketches: Tensor) -> Tensor:
    """In half precision, whose largest number stands for any that is larger."""
    maximum = torch.finfo(torch.float16).max
    return sketches.clamp(-maximum, maximum).half().cpu()


def _check_sizes(damping: float, dimensions: int, width: int, energy: float) -> None:
    sizes = {"damping": damping, "dimensions": dimensions, "width": width, "energy": energy}
    for name, value in sizes.items():
        if not value > 0:
            raise InputError(
                f"sketches: {name}", "a number > 0", f"{value}", "Take a positive number."
            )
