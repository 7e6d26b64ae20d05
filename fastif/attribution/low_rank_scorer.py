"""Scores of queries that are held in a few directions of every layer."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.scorers import Effects, GradientScorer, Scorer
from fastif.data.examples import Examples
from fastif.gradients.hooks import (
    MIX,
    Call,
    Heard,
    owner_of,
)
from fastif.gradients.layer_rules import is_linear, layer_gradients, positions
from fastif.gradients.per_example import Gradients
from fastif.models.parameters import ParamSpace

SPARE = 8
"""Directions that are sought beyond those that are kept, and PASSES of the power iteration."""

PASSES = 2
SEED = 0
"""Of the directions to start from: the same rows have the same halves."""


@dataclass(frozen=True, eq=False)
class Halves:
    """A matrix for each query, S ≈ leftᵀ right, by its largest singular values.

    Attributes:
        left, right: r rows a query.
    """

    left: Float[Tensor, "q r o"]
    right: Float[Tensor, "q r i"]

    @classmethod
    def of(cls, matrices: Float[Tensor, "q o i"], rank: int) -> "Halves":
        """The best of this rank but for what a randomised iteration misses (Halko et al., 2011)."""
        generator = torch.Generator().manual_seed(SEED)
        width = min(rank + SPARE, *matrices.shape[1:])
        start = torch.randn(matrices.shape[2], width, generator=generator).to(matrices)
        basis = torch.linalg.qr(matrices @ start).Q
        for _ in range(PASSES):
            basis = torch.linalg.qr(matrices @ (matrices.mT @ basis)).Q
        vectors, values, right = torch.linalg.svd(basis.mT @ matrices, full_matrices=False)
        left = (basis @ vectors[:, :, :rank]) * values[:, None, :rank]
        return cls(left.mT.contiguous(), right[:, :rank].contiguous())

    def products(
        self, inputs: Float[Tensor, "b t i"], deltas: Float[Tensor, "b t o"]
    ) -> Float[Tensor, "q b"]:
        """⟨S, Σ_t δ_t a_tᵀ⟩ = Σ_t Σ_r (left_r δ_t) (right_r a_t), no gradient being made."""
        queries, rank, _ = self.left.shape
        found = (deltas @ self.left.flatten(0, 1).T) * (inputs @ self.right.flatten(0, 1).T)
        return found.sum(1).unflatten(1, (queries, rank)).sum(2).T


@dataclass(frozen=True, eq=False)
class LowRankScorer(Scorer):
    """As `GradientScorer`, but of s_test in the weights of linear layers only r directions stay.

    A pair then takes t r (i + o) multiplications a layer for an example of t positions and not i o,
    and a query r (i + o) numbers and not i o; no row of p numbers is made. What it loses is
    measured: see `Certificate.rounding`. All other parameters are multiplied in full.

    Attributes:
        gradients: of the objective that s_test was solved for.
        train: the n training examples.
        halves: of linear layers, by the name of their weight.
        rest: s_test in all other parameters, by name.
        weights: of each training example's root rows, see `Leverage`; None to first order.
    """

    gradients: Gradients
    train: Examples
    halves: dict[str, Halves]
    rest: dict[str, Float[Tensor, "q _"]]
    count: int = field(kw_only=True)
    weights: Float[Tensor, "n c"] | None = field(default=None, kw_only=True)

    @property
    def queries(self) -> int:
        return self.count

    @property
    def like(self) -> Tensor:
        return self.gradients.objective.like

    def rounded(self) -> "LowRankScorer":
        return self

    def effects(self, ids: Int[Tensor, " b"]) -> Effects:
        batch, weights = self.train.take(ids), self.weights
        if weights is not None:
            batch = {**batch, MIX: weights[ids].to(batch["labels"].device)}
        pulled = "losses" if weights is None else "roots"
        return next(self.gradients.taken(batch, pulled, self._of_calls, self._of_rows))

    def _of_calls(self, heard: Heard) -> Effects:
        count = len(heard[0][1]) if heard else 0
        total = self.like.new_zeros(self.count, count)
        sound = torch.ones(count, dtype=torch.bool)
        for call, delta in heard:
            self._add(call, delta, total)
            for part in (call.inputs, delta):
                sound &= torch.isfinite(part).flatten(1).all(1).cpu()
        return Effects(total.div_(len(self.train)), sound)

    def _of_rows(self, rows: Float[Tensor, "b p"]) -> Effects:
        space, total = self.gradients.objective.space, self.like.new_zeros(self.count, len(rows))
        for name, at, shape in zip(space.names, space.slices, space.shapes, strict=True):
            if name in self.rest:
                total += self.rest[name] @ rows[:, at].T
            else:
                half = self.halves[name]
                near = torch.einsum("qro,boi->qbri", half.left, rows[:, at].unflatten(1, shape))
                total += (near * half.right[:, None]).sum((2, 3))
        return Effects(total.div_(len(self.train)), torch.isfinite(rows).all(1).cpu())

    def _add(self, call: Call, delta: Tensor, total: Tensor) -> None:
        prefix = f"{call.name}." if call.name else ""
        if f"{prefix}weight" in self.halves:
            total += self.halves[f"{prefix}weight"].products(*positions(call.inputs, delta))
        mine = {name for name in self.rest if owner_of(name) == call.name}
        if mine == {f"{prefix}bias"} and is_linear(call.layer):
            total += self.rest[f"{prefix}bias"] @ positions(call.inputs, delta)[1].sum(1).T
        elif mine:
            found = layer_gradients(call.layer, call.inputs, delta, call.outputs)
            for name in mine:
                total += self.rest[name] @ found[name.removeprefix(prefix)].flatten(1).T


def low_rank(scorer: Scorer, rank: int) -> Scorer:
    """The same scores with s_test of this rank in every linear layer.

    The scorer itself where its scores are known already, or its gradients are taken one by one.
    """
    if not isinstance(scorer, GradientScorer) or not len(scorer.train):
        return scorer
    gradients, s_test = scorer.gradients, scorer.s_test
    if not gradients.listens(scorer.train.take(torch.arange(min(2, len(scorer.train))))):
        return scorer
    space, halves, rest = gradients.objective.space, {}, {}
    for name, where, shape in zip(space.names, space.slices, space.shapes, strict=True):
        rows = s_test[:, where]
        if _is_weight(gradients, space, name) and rank < min(shape):
            halves[name] = Halves.of(rows.unflatten(1, shape), rank)
        else:
            rest[name] = rows.clone()  # a view would keep all of s_test
    return LowRankScorer(
        gradients, scorer.train, halves, rest, count=len(s_test), weights=scorer.weights
    )


def _is_weight(gradients: Gradients, space: ParamSpace, name: str) -> bool:
    layer = gradients.objective.module.get_submodule(owner_of(name))
    return is_linear(layer) and name.endswith("weight")
