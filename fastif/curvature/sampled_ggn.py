"""Few of many root rows, drawn so that their matrix stands for the whole one."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.ggn import GaussNewton, zero_curvature_error, zero_nonfinite_rows
from fastif.curvature.operator import FactoredOperator
from fastif.data.examples import COLUMN_WEIGHTS, Batch
from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.per_example import Gradients
from fastif.models.parameter_subset import ParameterSubset

FORWARD_FACTOR = 4
"""Times as many examples in a forward pass as in a tile of gradients."""


@dataclass(frozen=True, eq=False)
class SampledGaussNewton(FactoredOperator):
    """RᵀR / m of m root rows drawn from a Gauss-Newton matrix G; its mean over draws is G.

    Row j, of example i and column k of its root S_i, is drawn with probability
    π_j = min(1, t ‖S_i[:, k]‖²) and weighed by 1/√π_j; t is such that Σ π_j = m. What the model is
    sure of has next to no root rows, so that few rows carry nearly all of the trace, and these are
    taken without chance. The lengths in the outputs come from one forward pass, and stand for those
    of the gradients, with which they go together.

    Attributes:
        curvature: G.
        ids: example of each row.
        column_weights: its root column, as the weight √(m / (n π_j)) among zeros.
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
        """Draw `count` rows, one or more, or all that are not zero if these are fewer.

        Raises:
            InputError: all are zero, or not finite.
        """
        ids, squared_norms = _compute_column_norms(curvature)
        probabilities = inclusion_probabilities(squared_norms.flatten(), count)
        rows = systematic_sample(probabilities, seed)
        if len(rows) == 0:
            raise zero_curvature_error("root rows")
        column_weights = squared_norms.new_zeros(len(rows), squared_norms.shape[1])
        weight = (len(rows) / curvature.count / probabilities[rows]).sqrt()
        column_weights.scatter_(1, (rows % squared_norms.shape[1])[:, None], weight[:, None])
        return cls.from_rows(curvature, ids[rows // squared_norms.shape[1]], column_weights)

    @classmethod
    def from_rows(
        cls, curvature: GaussNewton, ids: Int[Tensor, " m"], column_weights: Float[Tensor, "m k"]
    ) -> "SampledGaussNewton":
        """The rows that were drawn before."""
        objective = curvature.objective
        subset = ParameterSubset(objective, objective.space.names)  # its model does not see the mix
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
            zero_nonfinite_rows(tile)
            yield tile

    def make_batch(self, batch_index: int) -> Batch:
        """The examples of a piece, each with the weight of its root column."""
        span = slice(batch_index * self.batch_size, (batch_index + 1) * self.batch_size)
        batch = self.curvature.examples.take(self.ids[span])
        return {**batch, COLUMN_WEIGHTS: self.column_weights[span].to(self.like.device)}


@torch.no_grad()
def _compute_column_norms(curvature: GaussNewton) -> tuple[Int[Tensor, " n"], Float[Tensor, "n k"]]:
    """‖S_i[:, k]‖² of every example in ascending order; what is not finite counts as nothing."""
    assert curvature.ids is not None  # set when it was made
    ids, objective, squared_norms = curvature.ids.sort().values, curvature.objective, None
    for positions, batch in curvature.examples.batches(ids, FORWARD_FACTOR * curvature.batch_size):
        outputs = objective.outputs(objective.params, batch)
        squares = (
            objective.loss.sqrt_hessian(outputs, batch["labels"]).double().square().sum(1).cpu()
        )
        squared_norms = (
            squares.new_empty(len(ids), squares.shape[1])
            if squared_norms is None
            else squared_norms
        )
        squared_norms[positions] = squares.nan_to_num_(0.0, 0.0, 0.0)
    assert squared_norms is not None  # a curvature has examples
    return ids, squared_norms


def inclusion_probabilities(sizes: Float[Tensor, " n"], count: int) -> Float[Tensor, " n"]:
    """Chances min(1, t·size) whose sum is `count`, or the number of sizes above zero if less.

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
    """Places drawn with these chances, as many as their sum: systematic sampling (Madow, 1949)."""
    start = torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=probabilities.dtype)
    crossings = (probabilities.masked_fill(probabilities >= 1, 0).cumsum(0) + start).floor()
    return torch.nonzero(
        (crossings.diff(prepend=crossings.new_zeros(1)) > 0) | (probabilities >= 1)
    )[:, 0]
