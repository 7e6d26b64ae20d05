"""Gradient sketches: low-dimensional gradients with removal effects as inner products."""

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
"""Relative eigenvalue threshold below which directions are rounding noise."""

Sketch = Float[Tensor, "b d"]


@dataclass(frozen=True, eq=False)
class GradientSketcher:
    """Gradient sketches in a whitened low-rank basis; inner products approximate removal effects.

        sketch(z)ᵀ sketch(i) ≈ ∇L(z)ᵀ (G + λI)⁻¹ ∇L(i)

    With V the m rows of an importance-sampled GGN factor (`SampledGaussNewton`) and S a count
    sketch (after a per-layer projection): F = V Sᵀ has F Fᵀ = U Λ Uᵀ, so W = Fᵀ U Λ^-½ is a basis
    of the directions with curvature, Λ / m holds the curvature along each, and

        sketch(g) = (Λ / m + λI)^-½ Wᵀ S g.

    The curvature is formed and inverted after the count sketch, so the damping λ also reduces the
    sketch's noise. The part of a gradient outside the span of W is dropped. TRAK (Park et al.,
    2023) is of the same family, with a random projection as the basis.

    Attributes:
        projector: Projection S of gradients.
        basis: Basis W [w d] of the directions with curvature.
        values: Eigenvalues Λ / m, ascending.
        damping: Effective damping λ.
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
        """Fit the basis: one forward pass over the examples, and `dimensions` gradients twice.

        Args:
            curvature: Gauss-Newton matrix G of the training set.
            damping: Effective damping λ.
            dimensions: Number m of sampled factor rows, and so the length of a sketch; less if the
                curvature has a lower rank.
            width: Width of the count sketch.
            energy: Share of each layer's squared gradient norm that the projection keeps before the
                count sketch, see `LayerProjection`; 1 omits the projection.
            seed: Random seed of the sample and of the count sketch.

        Raises:
            InputError: The damping or a size is not positive, or the curvature is zero.
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
        """Length d of a sketch."""
        return len(self.values)

    def __call__(
        self, gradients: Gradients, batch: Batch, gradient_of: GradientOf = "losses"
    ) -> Sketch:
        """Sketches [b d] of a batch's gradients; zero for a gradient that is not finite."""
        return next(self.projector(gradients, batch, gradient_of)) @ self._whitening

    @cached_property
    def _whitening(self) -> Float[Tensor, "w d"]:
        return self.basis * (1 / (self.values + self.damping).sqrt()).to(self.basis)

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by name, ready for safetensors."""
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
        """Restore a sketcher from `state_dict`, for the same objective."""
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
    """Fit the per-layer projection to sampled gradients; None for a model without forward hooks."""
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
    """Sketches [m d] of training examples at `ids` (all by default), in half precision."""
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
    """Sketches [q d] of the gradients of the queries' measure, on the model's device."""
    ids = all_ids(queries) if ids is None else ids
    device = gradients.objective.like.device
    sketches = torch.empty(len(ids), sketcher.dimensions, device=device)
    for positions, batch in queries.batches(ids):
        sketches[positions.to(device)] = sketcher(gradients, batch, "measures").float()
    return sketches


def _to_half(sketches: Tensor) -> Tensor:
    """Convert to half precision; values beyond its range are clamped."""
    maximum = torch.finfo(torch.float16).max
    return sketches.clamp(-maximum, maximum).half().cpu()


def _check_sizes(damping: float, dimensions: int, width: int, energy: float) -> None:
    sizes = {"damping": damping, "dimensions": dimensions, "width": width, "energy": energy}
    for name, value in sizes.items():
        if not value > 0:
            raise InputError(
                f"sketches: {name}", "a number > 0", f"{value}", "Set a positive number."
            )
