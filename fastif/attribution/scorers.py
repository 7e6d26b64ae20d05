"""Scorers: removal effects from one model, and their mean over several models."""

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
from fastif.numerics.precision import BF16, Precision, use_products


class Scorer(ABC):
    """Removal effects of training examples on solved queries, from one model.

    Attributes:
        train: Training set of n examples, in the form that this model reads.
        queries: Number of queries.
        like: Empty tensor with the type and device of the scores.
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
        """Removal effects [q b] of the given training examples on the queries."""

    @abstractmethod
    def with_precision(self, precision: Precision) -> "Scorer":
        """Return a scorer in this precision; the scorer itself where that saves nothing."""


@dataclass(frozen=True, eq=False)
class GradientScorer(Scorer):
    """Scorer by inner products of s_test with training gradients.

    Attributes:
        gradients: Per-example gradients of the objective for which s_test was solved; those of
            `make_weighted_gradients` if there are weights.
        train: Training set of n examples, in the form that this model reads.
        s_test: Inverse-Hessian-vector products (H + λI)⁻¹ ∇L(query), one for each query.
        weights: Weights [n c] of the training examples' factor rows, see `Leverage`; None for
            first-order effects.
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

    def with_precision(self, precision: Precision) -> "GradientScorer":
        """Return the scorer with passes and products in this precision, sums in single precision.

        In bfloat16 it takes half the memory and, where the processor has instructions for it, less
        time.
        """
        if precision == self.gradients.precision:
            return self
        gradients = Gradients(self.gradients.objective, precision)
        gradients.per_example_backward = self.gradients.per_example_backward or None
        s_test = self.s_test.bfloat16() if precision == BF16 else self.s_test
        return GradientScorer(gradients, self.train, s_test, self.weights)

    def compute_tile(self, ids: Int[Tensor, " b"]) -> GradientTile:
        """Training gradients of the given examples, with leverage weights if there are any."""
        return compute_scored_tile(self.gradients, self.train, ids, self.weights)

    def compute_effects(self, ids: Int[Tensor, " b"]) -> "Effects":
        with use_products(self.like.device, self.gradients.precision):
            tile = self.compute_tile(ids)
            effects = tile.dot(self.s_test).div_(len(self.train))
        if bool(torch.isfinite(effects).all()):
            return Effects(effects, torch.ones(len(ids), dtype=torch.bool))
        # NaN may come from a training gradient or from a query that overflows: check the gradients.
        return Effects(effects, tile.finite_mask().cpu())


@dataclass(frozen=True, eq=False)
class PrecomputedScorer(Scorer):
    """Scores of all training examples that a dual solver computed with the solve.

    They are q x n numbers, held only with a solver that already holds an n x n Gram matrix. No
    gradient is computed again.

    Attributes:
        train: Training set of n examples.
        scores: Inner products ∇L(train)ᵀ (H + λI)⁻¹ ∇L(query), [q n].
        finite: Whether each training example has a finite gradient.
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

    def with_precision(self, precision: Precision) -> "PrecomputedScorer":
        return self

    def compute_effects(self, ids: Int[Tensor, " b"]) -> "Effects":
        values = self.scores[:, ids.to(self.scores.device)] / len(self.train)
        return Effects(values, self.finite[ids])


@dataclass(frozen=True, eq=False)
class Effects:
    """Removal effects of b training examples on q queries.

    Attributes:
        values: Removal effects [q b], in nats.
        finite: Whether each example has a finite gradient; the values of others are undefined.
        spread: Standard deviation over models; None for one model.
        ranking: Scores of a `Ranking`; None where the removal effects are the ranking.
    """

    values: Float[Tensor, "q b"]
    finite: Bool[Tensor, " b"]
    spread: Float[Tensor, "q b"] | None = None
    ranking: Float[Tensor, "q b"] | None = None

    def drop_nonfinite(self) -> "Effects":
        """Return the effects of the examples with a finite gradient."""
        kept = self.finite
        if bool(kept.all()):
            return self
        others = (self.spread, self.ranking)
        spread, ranking = (None if column is None else column[:, kept] for column in others)
        return Effects(self.values[:, kept], kept[kept], spread, ranking)

    def pair_columns(
        self, values: Tensor, spread: Tensor | None, ranking: Tensor | None
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the given columns of a result, each with these effects' numbers for it."""
        pairs = ((values, self.values), (spread, self.spread), (ranking, self.ranking))
        return [
            (column, numbers.cpu())
            for column, numbers in pairs
            if column is not None and numbers is not None
        ]


def average_effects(scorers: Sequence[Scorer], ids: Int[Tensor, " b"]) -> Effects:
    """Mean and sample standard deviation (denominator m - 1) of the models' effects.

    Deviations from the first model are averaged in double precision, so identical models have
    exactly their common value as mean, and a spread of zero.
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
