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
from fastif.numerics.deferred_checks import assume_all, is_deferred
from fastif.numerics.transfer import send


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
    def to_bfloat16(self) -> "Scorer":
        """Return a scorer in bfloat16; the scorer itself where that saves nothing."""


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

    def to_bfloat16(self) -> "GradientScorer":
        """Return the scorer with gradients and s_test in bfloat16, products in single precision.

        It takes half the memory and, on processors with bfloat16 instructions, less time.
        """
        low_precision = Gradients(self.gradients.objective, torch.bfloat16)
        low_precision.per_example_backward = self.gradients.per_example_backward
        return GradientScorer(low_precision, self.train, self.s_test.bfloat16(), self.weights)

    def compute_tile(self, ids: Int[Tensor, " b"]) -> GradientTile:
        """Training gradients of the given examples, with leverage weights if there are any."""
        return compute_scored_tile(self.gradients, self.train, ids, self.weights)

    def compute_effects(self, ids: Int[Tensor, " b"]) -> "Effects":
        tile = self.compute_tile(ids)
        effects = tile.dot(self.s_test).div_(len(self.train))
        return Effects(effects, _find_finite(effects, tile))


def _find_finite(effects: Float[Tensor, "q b"], tile: GradientTile) -> Bool[Tensor, " b"]:
    """Mask of the finite gradients; while checks are deferred, of those with a finite effect.

    A gradient that is not finite has no finite product. A finite one has none only if the products
    with all queries overflow; `full_scan` computes such gradients again.
    """
    finite = torch.isfinite(effects)
    if is_deferred(effects.device):
        has_finite = finite.any(0)
        assume_all(has_finite.any())  # else all queries overflow
        return has_finite
    if bool(finite.all()):
        return torch.ones(len(tile), dtype=torch.bool)
    # NaN may come from a training gradient or from a query that overflows: check the gradients.
    return tile.finite_mask().cpu()


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

    def to_bfloat16(self) -> "PrecomputedScorer":
        return self

    def compute_effects(self, ids: Int[Tensor, " b"]) -> "Effects":
        values = self.scores[:, send(ids, self.scores.device)] / len(self.train)
        return Effects(values, place_mask(self.finite[ids], values.device))


@dataclass(frozen=True, eq=False)
class Effects:
    """Removal effects of b training examples on q queries.

    Attributes:
        values: Removal effects [q b], in nats.
        finite: Whether each example has a finite gradient; the values of others are undefined. On
            the device of the values while checks are deferred, else on the CPU.
        spread: Standard deviation over models; None for one model.
        ranking: Scores of a `Ranking`; None where the removal effects are the ranking.
    """

    values: Float[Tensor, "q b"]
    finite: Bool[Tensor, " b"]
    spread: Float[Tensor, "q b"] | None = None
    ranking: Float[Tensor, "q b"] | None = None

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


def place_mask(mask: Bool[Tensor, " b"], device: torch.device) -> Bool[Tensor, " b"]:
    """Return a mask on the device of the values while checks are deferred, else on the CPU."""
    return send(mask, device) if is_deferred(device) else mask.cpu()


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
