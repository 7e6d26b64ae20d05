"""Rankings of a query's training examples that are not by the removal effect itself."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.data.arrays import Ids
from fastif.data.examples import Examples
from fastif.gradients.per_example import Gradients, compute_measure_gradients
from fastif.numerics.blocked_dot import row_norms
from fastif.numerics.transfer import send


class Ranking(ABC):
    """Ranking of training examples by another score, `Influences.ranking_score`."""

    @abstractmethod
    def score(self, ids: Int[Tensor, " b"], effects: Float[Tensor, "q b"]) -> Float[Tensor, "q b"]:
        """Return the ranking scores of training examples, given their removal effects."""


@dataclass(frozen=True, eq=False)
class ScaledEffects(Ranking):
    """Removal effects times a positive factor of the training example (Barshan et al., 2020).

    Attributes:
        scale: Factor [n] of each training example.

    Examples:
        >>> ranking = ScaledEffects(torch.tensor([1.0, 0.5, 2.0]))
        >>> ranking.score(torch.tensor([2, 1]), torch.tensor([[3.0, 4.0]]))
        tensor([[6., 2.]])
    """

    scale: Float[Tensor, " n"]

    def score(self, ids: Int[Tensor, " b"], effects: Float[Tensor, "q b"]) -> Float[Tensor, "q b"]:
        return effects * send(self.scale[ids], effects.device).to(effects.dtype)


@dataclass(frozen=True, eq=False)
class GradientCosines(Ranking):
    """Gradient cosines of queries and training examples (GradCos; Hanawa et al., 2021).

        score[z, i] = ∇L(z)ᵀ ∇L(i) / (‖∇L(z)‖ ‖∇L(i)‖)

    A vector of zeros has the cosine 0. Takes the gradient of each scored example once more.

    Attributes:
        gradients: Per-example gradients of the objective.
        train: Training set of n examples.
        directions: Query gradients of length 1, [q p].
    """

    gradients: Gradients
    train: Examples
    directions: Float[Tensor, "q p"]

    @classmethod
    def of_queries(
        cls, gradients: Gradients, train: Examples, queries: Examples, ids: Ids | None = None
    ) -> "GradientCosines":
        """Return the ranking of the queries at the given positions, or of all queries."""
        directions = compute_measure_gradients(gradients, queries, ids)
        return cls(gradients, train, directions.div_(_bound_below(row_norms(directions))[:, None]))

    def score(self, ids: Int[Tensor, " b"], effects: Float[Tensor, "q b"]) -> Float[Tensor, "q b"]:
        tile = self.gradients.compute_loss_tile(self.train.take(ids))
        cosines = tile.dot(self.directions) / _bound_below(tile.norms())
        return cosines.to(effects)


def _bound_below(norms: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return norms, at least the smallest normal number."""
    return norms.clamp_min(torch.finfo(norms.dtype).tiny)
