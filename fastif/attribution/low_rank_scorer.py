"""Low-rank scorer: s_test of linear layers truncated to its leading singular vectors."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.scorers import Effects, GradientScorer, Scorer, place_mask
from fastif.data.examples import COLUMN_WEIGHTS, Examples
from fastif.gradients.hooks import LayerCall, LayerGrads, get_owner_name
from fastif.gradients.layer_factors import flatten_positions, has_transposed_weight, is_linear
from fastif.gradients.layer_rules import compute_layer_gradients
from fastif.gradients.per_example import Gradients
from fastif.models.parameters import ParamSpace
from fastif.numerics.transfer import send

OVERSAMPLING = 8
"""Oversampling of the randomized SVD: dimensions beyond the rank."""

POWER_ITERATIONS = 2
"""Power iterations of the randomized SVD."""
SEED = 0
"""Random seed of the start matrix, so that equal input gives equal factors."""


@dataclass(frozen=True, eq=False)
class LowRankFactors:
    """Low-rank matrices S ≈ leftᵀ right, one for each query.

    Attributes:
        left: Left factors [q r o], scaled by the singular values.
        right: Right factors [q r i], with orthonormal rows.
    """

    left: Float[Tensor, "q r o"]
    right: Float[Tensor, "q r i"]

    @classmethod
    def from_matrices(cls, matrices: Float[Tensor, "q o i"], rank: int) -> "LowRankFactors":
        """Truncate each matrix to the given rank by randomized SVD (Halko et al., 2011)."""
        generator = torch.Generator().manual_seed(SEED)
        width = min(rank + OVERSAMPLING, *matrices.shape[1:])
        start = torch.randn(matrices.shape[2], width, generator=generator).to(matrices)
        basis = torch.linalg.qr(matrices @ start).Q
        for _ in range(POWER_ITERATIONS):
            basis = torch.linalg.qr(matrices @ (matrices.mT @ basis)).Q
        vectors, values, right = torch.linalg.svd(basis.mT @ matrices, full_matrices=False)
        left = (basis @ vectors[:, :, :rank]) * values[:, None, :rank]
        return cls(left.mT.contiguous(), right[:, :rank].contiguous())

    def pair_products(
        self, inputs: Float[Tensor, "b t i"], deltas: Float[Tensor, "b t o"]
    ) -> Float[Tensor, "q b"]:
        """Inner products ⟨S, Σ_t δ_t a_tᵀ⟩ = Σ_tr (left_r δ_t)(right_r a_t), without gradients."""
        queries, rank, _ = self.left.shape
        terms = (deltas @ self.left.flatten(0, 1).T) * (inputs @ self.right.flatten(0, 1).T)
        return terms.sum(1).unflatten(1, (queries, rank)).sum(2).T


@dataclass(frozen=True, eq=False)
class LowRankScorer(Scorer):
    """Scorer with s_test of rank r in the weights of linear layers.

    For an example of t positions, a pair takes t r (i + o) multiplications in a layer instead of i
    o, and a query holds r (i + o) numbers instead of i o. No gradient of p numbers is formed. The
    loss of accuracy is measured as `Certificate.rounding`. All other parameters are multiplied in
    full.

    Attributes:
        gradients: Per-example gradients of the objective for which s_test was solved.
        train: Training set of n examples.
        factors: Low-rank s_test of linear layers, by the name of the weight.
        full_rank: Full s_test [q _] of all other parameters, by name.
        query_count: Number of queries.
        weights: Weights [n c] of the training examples' factor rows, see `Leverage`; None for
            first-order effects.
    """

    gradients: Gradients
    train: Examples
    factors: dict[str, LowRankFactors]
    full_rank: dict[str, Float[Tensor, "q _"]]
    query_count: int = field(kw_only=True)
    weights: Float[Tensor, "n c"] | None = field(default=None, kw_only=True)

    @property
    def queries(self) -> int:
        return self.query_count

    @property
    def like(self) -> Tensor:
        return self.gradients.objective.like

    def to_bfloat16(self) -> "LowRankScorer":
        return self

    def compute_effects(self, ids: Int[Tensor, " b"]) -> Effects:
        batch, weights = self.train.take(ids), self.weights
        if weights is not None:
            batch = {**batch, COLUMN_WEIGHTS: send(weights[ids], batch["labels"].device)}
        gradient_source = "losses" if weights is None else "roots"
        return next(
            self.gradients.map_columns(
                batch, gradient_source, self._score_layer_calls, self._score_gradients
            )
        )

    def _score_layer_calls(self, activations: LayerGrads) -> Effects:
        count = len(activations[0][1]) if activations else 0
        total = self.like.new_zeros(self.query_count, count)
        finite = torch.ones(count, dtype=torch.bool, device=total.device)
        for call, delta in activations:
            self._add_layer(call, delta, total)
            for tensor in (call.inputs, delta):
                finite &= torch.isfinite(tensor).flatten(1).all(1)
        return Effects(total.div_(len(self.train)), place_mask(finite, total.device))

    def _score_gradients(self, vectors: Float[Tensor, "b p"]) -> Effects:
        space, total = (
            self.gradients.objective.space,
            self.like.new_zeros(self.query_count, len(vectors)),
        )
        for name, span, shape in zip(space.names, space.slices, space.shapes, strict=True):
            if name in self.full_rank:
                total += self.full_rank[name] @ vectors[:, span].T
            else:
                layer_factors = self.factors[name]
                projected = torch.einsum(
                    "qro,boi->qbri", layer_factors.left, vectors[:, span].unflatten(1, shape)
                )
                total += (projected * layer_factors.right[:, None]).sum((2, 3))
        finite = place_mask(torch.isfinite(vectors).all(1), total.device)
        return Effects(total.div_(len(self.train)), finite)

    def _add_layer(self, call: LayerCall, delta: Tensor, total: Tensor) -> None:
        prefix = f"{call.name}." if call.name else ""
        if f"{prefix}weight" in self.factors:
            sides = flatten_positions(call.inputs, delta)
            sides = sides[::-1] if has_transposed_weight(call.layer) else sides
            total += self.factors[f"{prefix}weight"].pair_products(*sides)
        layer_params = {name for name in self.full_rank if get_owner_name(name) == call.name}
        if layer_params == {f"{prefix}bias"} and is_linear(call.layer):
            total += (
                self.full_rank[f"{prefix}bias"] @ flatten_positions(call.inputs, delta)[1].sum(1).T
            )
        elif layer_params:
            layer_grads = compute_layer_gradients(
                call.layer, call.inputs, delta, call.outputs, call.params
            )
            for name in layer_params:
                total += self.full_rank[name] @ layer_grads[name.removeprefix(prefix)].flatten(1).T


def make_low_rank_scorer(scorer: Scorer, rank: int) -> Scorer:
    """Truncate s_test to the given rank in every linear layer.

    Scorers with precomputed scores, or without forward hooks, are returned unchanged.
    """
    if not isinstance(scorer, GradientScorer) or not len(scorer.train):
        return scorer
    gradients, s_test = scorer.gradients, scorer.s_test
    if not gradients.uses_hooks(scorer.train.take(torch.arange(min(2, len(scorer.train))))):
        return scorer
    space, factors, full_rank = gradients.objective.space, {}, {}
    for name, span, shape in zip(space.names, space.slices, space.shapes, strict=True):
        block = s_test[:, span]
        if _is_weight(gradients, space, name) and rank < min(shape):
            factors[name] = LowRankFactors.from_matrices(block.unflatten(1, shape), rank)
        else:
            full_rank[name] = block.clone()  # a view would keep all of s_test
    return LowRankScorer(
        gradients, scorer.train, factors, full_rank, query_count=len(s_test), weights=scorer.weights
    )


def _is_weight(gradients: Gradients, space: ParamSpace, name: str) -> bool:
    layer = gradients.objective.module.get_submodule(get_owner_name(name))
    return is_linear(layer) and name.endswith("weight")
