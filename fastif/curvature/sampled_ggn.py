"""Few of many root rows, drawn so that their matrix stands for the whole one."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.curvature.ggn import GaussNewton, leave_out_broken, no_curvature
from fastif.curvature.operator import Rooted
from fastif.data.examples import Batch, batches
from fastif.gradients.hooks import MIX
from fastif.gradients.per_example import Gradients, Tile
from fastif.models.parameter_subset import Subset

FORWARD = 4
"""Times as many examples in a forward pass as in a tile of gradients."""


@dataclass(frozen=True, eq=False)
class Drawn(Rooted):
    """RᵀR / m of m root rows drawn from a Gauss-Newton matrix G; its mean over draws is G.

    Row j, of example i and column k of its root S_i, is drawn with probability
    π_j = min(1, t ‖S_i[:, k]‖²) and weighed by 1/√π_j; t is such that Σ π_j = m. What the model is
    sure of has next to no root rows, so that few rows carry nearly all of the trace, and these are
    taken without chance. The lengths in the outputs come from one forward pass, and stand for those
    of the gradients, with which they go together.

    Attributes:
        curvature: G.
        ids: example of each row.
        mix: its root column, as the weight √(m / (n π_j)) among zeros.
    """

    curvature: GaussNewton
    ids: Int[Tensor, " m"]
    mix: Float[Tensor, "m k"]
    gradients: Gradients
    batch_size: int

    @classmethod
    def of(cls, curvature: GaussNewton, count: int, seed: int = 0) -> "Drawn":
        """Draw `count` rows, one or more, or all that are not zero if these are fewer.

        Raises:
            InputError: all are zero, or not finite.
        """
        ids, sizes = _sizes(curvature)
        chances = inclusion(sizes.flatten(), count)
        rows = drawn_by(chances, seed)
        if len(rows) == 0:
            raise no_curvature("root rows")
        mix = sizes.new_zeros(len(rows), sizes.shape[1])
        weight = (len(rows) / curvature.count / chances[rows]).sqrt()
        mix.scatter_(1, (rows % sizes.shape[1])[:, None], weight[:, None])
        return cls.again(curvature, ids[rows // sizes.shape[1]], mix)

    @classmethod
    def again(
        cls, curvature: GaussNewton, ids: Int[Tensor, " m"], mix: Float[Tensor, "m k"]
    ) -> "Drawn":
        """The rows that were drawn before."""
        objective = curvature.objective
        unmixed = Subset(objective, objective.space.names)  # its model does not see the mix
        return cls(curvature, ids, mix, Gradients(unmixed), curvature.batch_size)

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
    def columns(self) -> int:
        return 1

    def roots(self, piece: int) -> Iterator[Tile]:
        for tile in self.gradients.of_roots(self.batch(piece)):
            leave_out_broken(tile)
            yield tile

    def batch(self, piece: int) -> Batch:
        """The examples of a piece, each with the weight of its root column."""
        part = slice(piece * self.batch_size, (piece + 1) * self.batch_size)
        batch = self.curvature.examples.take(self.ids[part])
        return {**batch, MIX: self.mix[part].to(self.like.device)}


@torch.no_grad()
def _sizes(curvature: GaussNewton) -> tuple[Int[Tensor, " n"], Float[Tensor, "n k"]]:
    """‖S_i[:, k]‖² of every example in ascending order; what is not finite counts as nothing."""
    assert curvature.ids is not None  # set when it was made
    ids, objective, found = curvature.ids.sort().values, curvature.objective, None
    for places, batch in batches(curvature.examples, ids, FORWARD * curvature.batch_size):
        outputs = objective.outputs(objective.params, batch)
        squares = objective.loss.root(outputs, batch["labels"]).double().square().sum(1).cpu()
        found = squares.new_empty(len(ids), squares.shape[1]) if found is None else found
        found[places] = squares.nan_to_num_(0.0, 0.0, 0.0)
    assert found is not None  # a curvature has examples
    return ids, found


def inclusion(sizes: Float[Tensor, " n"], count: int) -> Float[Tensor, " n"]:
    """Chances min(1, t·size) whose sum is `count`, or the number of sizes above zero if less.

    >>> inclusion(torch.tensor([8.0, 1.0, 1.0, 0.0]), 2)
    tensor([1.0000, 0.5000, 0.5000, 0.0000])
    """
    sure = sizes.new_zeros(len(sizes), dtype=torch.bool)
    count = min(count, int((sizes > 0).sum()))
    while True:
        left = sizes.masked_fill(sure, 0)
        chances = left * ((count - int(sure.sum())) / left.sum().clamp_min(1e-300))
        more = (chances >= 1) & ~sure
        if not bool(more.any()):
            return chances.masked_fill(sure, 1)
        sure |= more


def drawn_by(chances: Float[Tensor, " n"], seed: int) -> Int[Tensor, " m"]:
    """Places drawn with these chances, as many as their sum: systematic sampling (Madow, 1949)."""
    start = torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=chances.dtype)
    passed = (chances.masked_fill(chances >= 1, 0).cumsum(0) + start).floor()
    return torch.nonzero((passed.diff(prepend=passed.new_zeros(1)) > 0) | (chances >= 1))[:, 0]
