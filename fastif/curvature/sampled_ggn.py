"""Importance-sampled Gauss-Newton matrix: a few factor rows, weighted to be unbiased."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.ggn import GaussNewton, zero_curvature_error
from fastif.curvature.operator import FactoredOperator
from fastif.data.examples import COLUMN_WEIGHTS, Batch
from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.per_example import Gradients
from fastif.models.parameter_subset import ParameterSubset

FORWARD_FACTOR = 4
"""Batch size of a forward pass without gradients, as a multiple of that of a tile of gradients."""


@dataclass(frozen=True, eq=False)
class SampledGaussNewton(FactoredOperator):
    """Importance-sampled Gauss-Newton matrix: VᵀV / m of m sampled rows of the GGN factor.

    Factor row j, of example i and column k of its square root S_i, is included with probability

        π_j = min(1, t ‖S_i[:, k]‖²),    Σ_j π_j = m

    and scaled by √(m / (n π_j)) (Horvitz-Thompson weights), so that the expectation over samples is
    the Gauss-Newton matrix G of all n examples. Examples that the model predicts with near
    certainty have factor rows close to zero. A few rows therefore carry nearly all of the trace,
    and rows with π_j = 1 are always included. One forward pass gives the norms ‖S_i[:, k]‖, which
    stand in for the norms of the gradients.

    Attributes:
        curvature: Gauss-Newton matrix G that is sampled.
        ids: Position of the example of each sampled row.
        column_weights: Weight of the sampled row in its column of S_i, and zeros elsewhere.
        gradients: Source of the per-example gradients that make up the sampled rows.
        batch_size: Number of sampled rows in memory at once.
    """

    curvature: GaussNewton
    ids: Int[Tensor, " m"]
    column_weights: Float[Tensor, "m k"]
    gradients: Gradients
    batch_size: int

    @classmethod
    def from_curvature(
        cls, curvature: GaussNewton, count: int, seed: int = 0
    ) -> "SampledGaussNewton":
        """Sample factor rows of a Gauss-Newton matrix with probability proportional to size.

        Args:
            curvature: Gauss-Newton matrix to sample from.
            count: Number m of rows, 1 or more; all nonzero rows if there are fewer.
            seed: Random seed of the systematic sample.

        Raises:
            InputError: If every factor row is zero or not finite.
        """
        ids, squared_norms = _compute_column_norms(curvature)
        probabilities = inclusion_probabilities(squared_norms.flatten(), count)
        rows = systematic_sample(probabilities, seed)
        if len(rows) == 0:
            raise zero_curvature_error("rows of the GGN factor")
        column_weights = squared_norms.new_zeros(len(rows), squared_norms.shape[1])
        weight = (len(rows) / curvature.count / probabilities[rows]).sqrt()
        column_weights.scatter_(1, (rows % squared_norms.shape[1])[:, None], weight[:, None])
        return cls.from_rows(curvature, ids[rows // squared_norms.shape[1]], column_weights)

    @classmethod
    def from_rows(
        cls, curvature: GaussNewton, ids: Int[Tensor, " m"], column_weights: Float[Tensor, "m k"]
    ) -> "SampledGaussNewton":
        """Restore a sample from the positions and weights of its rows."""
        objective = curvature.objective
        # A subset of all parameters: it removes the column weights before the model runs.
        subset = ParameterSubset(objective, objective.space.names)
        return cls(curvature, ids, column_weights, Gradients(subset), curvature.batch_size)

    @property
    def size(self) -> int:
        return self.curvature.size

    @property
    def like(self) -> Tensor:
        return self.curvature.like

    @property
    def count(self) -> int:
        return len(self.ids)

    @property
    def rows_per_example(self) -> int:
        return 1

    def factor_rows(self, batch_index: int) -> Iterator[GradientTile]:
        for tile in self.gradients.compute_sqrt_hessian_tiles(self.make_batch(batch_index)):
            tile.zero_nonfinite()
            yield tile

    def make_batch(self, batch_index: int) -> Batch:
        """Return the examples of one batch, each with the weight of its sampled column."""
        span = slice(batch_index * self.batch_size, (batch_index + 1) * self.batch_size)
        batch = self.curvature.examples.take(self.ids[span])
        return {**batch, COLUMN_WEIGHTS: self.column_weights[span].to(self.like.device)}


@torch.no_grad()
def _compute_column_norms(curvature: GaussNewton) -> tuple[Int[Tensor, " n"], Float[Tensor, "n k"]]:
    """Return the examples in ascending order and ‖S_i[:, k]‖² of each (0 if not finite)."""
    assert curvature.ids is not None  # set when it was made
    ids, objective, squared_norms = curvature.ids.sort().values, curvature.objective, None
    for positions, batch in curvature.examples.batches(ids, FORWARD_FACTOR * curvature.batch_size):
        outputs = objective.outputs(objective.params, batch)
        blocks = objective.loss.sqrt_hessian_blocks(outputs, batch["labels"])
        squares = blocks.double().square().sum(2).flatten(1).cpu()
        squared_norms = (
            squares.new_empty(len(ids), squares.shape[1])
            if squared_norms is None
            else squared_norms
        )
        squared_norms[positions] = squares.nan_to_num_(0.0, 0.0, 0.0)
    assert squared_norms is not None  # a curvature has examples
    return ids, squared_norms


def inclusion_probabilities(sizes: Float[Tensor, " n"], count: int) -> Float[Tensor, " n"]:
    """Inclusion probabilities min(1, t·size) of sampling with probability proportional to size.

    Args:
        sizes: Size of each of n units, 0 or more.
        count: Sum of the probabilities, or the number of nonzero sizes if that is less.

    Examples:
        >>> inclusion_probabilities(torch.tensor([8.0, 1.0, 1.0, 0.0]), 2)
        tensor([1.0000, 0.5000, 0.5000, 0.0000])
    """
    certain = sizes.new_zeros(len(sizes), dtype=torch.bool)
    count = min(count, int((sizes > 0).sum()))
    while True:
        remaining = sizes.masked_fill(certain, 0)
        probabilities = remaining * (
            (count - int(certain.sum())) / remaining.sum().clamp_min(1e-300)
        )
        newly_certain = (probabilities >= 1) & ~certain
        if not bool(newly_certain.any()):
            return probabilities.masked_fill(certain, 1)
        certain |= newly_certain


def systematic_sample(probabilities: Float[Tensor, " n"], seed: int) -> Int[Tensor, " m"]:
    """Systematic sample with the given inclusion probabilities (Madow, 1949).

    Args:
        probabilities: Inclusion probability of each of n units, from 0 to 1.
        seed: Random seed of the starting point.

    Returns:
        Positions of the sampled units in ascending order; their number is the sum of probabilities.
    """
    start = torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=probabilities.dtype)
    crossings = (probabilities.masked_fill(probabilities >= 1, 0).cumsum(0) + start).floor()
    return torch.nonzero(
        (crossings.diff(prepend=crossings.new_zeros(1)) > 0) | (probabilities >= 1)
    )[:, 0]
