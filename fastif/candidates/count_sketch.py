"""Count sketch of gradients: some thousand numbers that preserve inner products in expectation."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.candidates.layer_projection import LayerProjection
from fastif.data.examples import Batch
from fastif.gradients.hooks import GradientOf
from fastif.gradients.per_example import Gradients


@dataclass(frozen=True)
class CountSketch:
    """Count sketch S: feature hashing of p numbers to `width` numbers with random signs.

    (Charikar, Chen and Farach-Colton, 2002.) The hash shifts blocks of `width` numbers as a whole,
    so it needs no table of p positions. Inner products are unbiased,

        E⟨Sx, Sy⟩ = ⟨x, y⟩,   Var⟨Sx, Sy⟩ <= (‖x‖² ‖y‖² + ⟨x, y⟩²) / width

    Args:
        size: Number p of input coordinates.
        width: Number of output coordinates.
        seed: Random seed of the signs and shifts.

    Examples:
        >>> sketch = CountSketch(size=10, width=4, seed=0)
        >>> sketch(torch.eye(10)).abs().sum(1)  # each coordinate is hashed to one place
        tensor([1., 1., 1., 1., 1., 1., 1., 1., 1., 1.])
    """

    size: int
    width: int
    seed: int

    def __call__(self, vectors: Float[Tensor, "b p"]) -> Float[Tensor, "b w"]:
        sketch, signs = vectors.new_zeros(len(vectors), self.width), self._signs_like(vectors)
        for block, shift in enumerate(self._shifts):
            start = block * self.width
            stop = min(start + self.width, self.size)
            wrap = min(stop, start + self.width - shift)  # the shift wraps around to column 0
            head, tail = slice(start, wrap), slice(wrap, stop)
            sketch[:, shift : shift + wrap - start].addcmul_(vectors[:, head], signs[head])
            sketch[:, : stop - wrap].addcmul_(vectors[:, tail], signs[tail])
        return sketch

    def _signs_like(self, vectors: Tensor) -> Float[Tensor, " p"]:
        """Signs on the vectors' device, where they are cached: no batch waits for a copy."""
        if self._signs.device != vectors.device:
            self.__dict__["_signs"] = self._signs.to(vectors.device)
        return self._signs.to(vectors)

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
class GradientProjector:
    """Projection of per-example gradients: per-layer low-rank projection, then a count sketch.

    Attributes:
        projection: Per-layer projection; None for a model without forward hooks, whose gradients
            take one backward pass each.
        count_sketch: Count sketch of the projected gradients.
    """

    projection: LayerProjection | None
    count_sketch: CountSketch

    def __call__(
        self, gradients: Gradients, batch: Batch, gradient_of: GradientOf
    ) -> Iterator[Float[Tensor, "b w"]]:
        """Yield projected gradients [b w], once for losses or measures, or for each factor column.

        Gradients that are not finite become zero.
        """
        projection, like, count = self.projection, gradients.objective.like, len(batch["labels"])
        if projection is None:
            for tile in gradients.compute_tiles(batch, gradient_of):
                yield _zero_nonfinite(self.count_sketch(tile.gradients))
            return
        projected = gradients.map_columns(
            batch,
            gradient_of,
            lambda calls: projection(calls, count, like),
            projection.project_vectors,
        )
        for rows in projected:
            yield _zero_nonfinite(self.count_sketch(rows))


def _zero_nonfinite(vectors: Tensor) -> Tensor:
    return vectors.masked_fill_(~torch.isfinite(vectors).all(1, keepdim=True), 0.0)
