"""One model's side of a score, and the mean over several models."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.attribution.leverage import compute_scored_tile
from fastif.data.examples import Examples
from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.per_example import Gradients


class Scorer(ABC):
    """What one model says of the effects of training examples on solved queries.

    Attributes:
        train: the n training examples, as this model sees them.
        queries: how many.
        like: an empty tensor of the scores' type and device.
    """

    train: Examples

    @property
    @abstractmethod
    def queries(self) -> int: ...

    @property
    @abstractmethod
    def like(self) -> Tensor: ...

    @abstractmethod
    def compute_effects(self, ids: Int[Tensor, " b"]) -> "Effects":
        """Removal effects of these training examples on the queries."""

    @abstractmethod
    def to_bfloat16(self) -> "Scorer":
        """The same in low precision; itself where nothing would be saved."""


@dataclass(frozen=True, eq=False)
class GradientScorer(Scorer):
    """Training gradients, and the solved queries they are multiplied with.

    Attributes:
        gradients: of the objective that s_test was solved for; with weights,
            `make_weighted_gradients` ones.
        train: the n training examples, as this model sees them.
        s_test: (H + λI)⁻¹ ∇L(query), one row a query.
        weights: of each training example's root rows, see `Leverage`; None to first order.
    """

    gradients: Gradients
    train: Examples
    s_test: Float[Tensor, "q p"]
    weights: Float[Tensor, "n c"] | None = None

    @property
    def queries(self) -> int:
        return len(self.s_test)

    @property
    def like(self) -> Tensor:
        return self.gradients.objective.like

    def to_bfloat16(self) -> "GradientScorer":
        """The same in half the memory and, where the processor has the instructions, less time.

        Gradients and s_test are rounded to bfloat16 (8 bits), their products summed in single
        precision.
        """
        low_precision = Gradients(self.gradients.objective, torch.bfloat16)
        low_precision.per_example_backward = self.gradients.per_example_backward
        return GradientScorer(low_precision, self.train, self.s_test.bfloat16(), self.weights)

    def compute_tile(self, ids: Int[Tensor, " b"]) -> GradientTile:
        """What s_test is multiplied with, of these training examples."""
        return compute_scored_tile(self.gradients, self.train, ids, self.weights)

    def compute_effects(self, ids: Int[Tensor, " b"]) -> "Effects":
        tile = self.compute_tile(ids)
        effects = tile.dot(self.s_test).div_(len(self.train))
        if bool(torch.isfinite(effects).all()):
            return Effects(effects, torch.ones(len(ids), dtype=torch.bool))
        # A gradient with NaN or infinity spoils its products with all queries, and a query that
        # overflows spoils its own. Only the rows themselves tell which it was.
        return Effects(effects, tile.finite_mask().cpu())


@dataclass(frozen=True, eq=False)
class PrecomputedScorer(Scorer):
    """Scores of all training examples that came with the solve; no gradient is taken again.

    They are q x n numbers, held where a solver holds a kernel of n x n anyway.

    Attributes:
        train: the n training examples.
        scores: ∇L(train)ᵀ (H + λI)⁻¹ ∇L(query).
        finite: whether a training example's gradient is finite.
    """

    train: Examples
    scores: Float[Tensor, "q n"]
    finite: Bool[Tensor, " n"]

    @property
    def queries(self) -> int:
        return len(self.scores)

    @property
    def like(self) -> Tensor:
        return self.scores.new_empty(0)

    def to_bfloat16(self) -> "PrecomputedScorer":
        return self

    def compute_effects(self, ids: Int[Tensor, " b"]) -> "Effects":
        values = self.scores[:, ids.to(self.scores.device)] / len(self.train)
        return Effects(values, self.finite[ids])


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects of b training examples on q queries.

    Attributes:
        values: removal effects, in nats.
        finite: whether an example's gradient is finite; the others' values mean nothing.
        spread: standard deviation over models; None for one model.
    """

    values: Float[Tensor, "q b"]
    finite: Bool[Tensor, " b"]
    spread: Float[Tensor, "q b"] | None = None


def average_effects(scorers: Sequence[Scorer], ids: Int[Tensor, " b"]) -> Effects:
    """The mean of the models' effects, and their standard deviation (m - 1 in its denominator).

    Taken of deviations from the first model, in double precision: models that agree to the last bit
    have exactly that mean, and a spread of zero.
    """
    member_effects = [scorer.compute_effects(ids) for scorer in scorers]
    first = member_effects[0].values
    if len(member_effects) == 1:
        return member_effects[0]
    deviations = torch.stack([effects.values.double() - first for effects in member_effects])
    return Effects(
        (first + deviations.mean(0)).to(first.dtype),
        torch.stack([effects.finite for effects in member_effects]).all(0),
        deviations.std(0).to(first.dtype),
    )
