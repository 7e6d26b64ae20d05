"""Scores, and the one convention of sign and unit.

    removal_effect[query, train] = 1/n · ∇L(query)ᵀ (H + λI)⁻¹ ∇L(train)

is the predicted change of the query's loss, in nats, if the training example were removed and the
model trained again (n training examples, H the mean curvature, λ the effective damping). Positive:
the loss would rise, the example is **helpful**. Negative: **harmful**. The FastIF paper's
I_up,loss is -n times this. With the leverage of a training example
(`fastif.attribution.leverage`) H is the curvature without that example's term, which is what is
left when it is gone. No other place in the project changes the sign of a score.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.scorers import (
    Effects,
    GradientScorer,
    Scorer,
    average_effects,
)
from fastif.attribution.slice_totals import SliceTotals
from fastif.candidates.faiss_index import Candidates
from fastif.curvature.operator import DampedOperator
from fastif.data.arrays import Ids, as_ids
from fastif.data.examples import all_ids
from fastif.data.torch_forms import ExamplesLike
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, compute_loss_gradients
from fastif.models.trial import try_table
from fastif.numerics.out_of_memory import split_on_oom
from fastif.numerics.top_bottom_k import TopBottomK, top_bottom_k
from fastif.solvers.definiteness import require_positive_definite
from fastif.solvers.solver import Factor, Solver

NO_EXAMPLE = -1
"""The id of a cell without an example: an approximate index found fewer than k, or the example's
gradient is not finite."""


@dataclass(frozen=True, eq=False)
class Influences:
    """For each query its scored training examples, the most harmful first.

    Equal scores are ordered by position, so the table does not depend on tiles or their order.
    A cell without an example has the id `NO_EXAMPLE`, an infinite score, and comes last.

    Attributes:
        ids: positions in the training set.
        removal_effect: nats; negative = harmful.
        distances: of the candidate index; None in a full scan.
        spread: standard deviation of the score over models, in nats; None for one model.
        nonfinite_ids: training examples that were to be scored but whose gradient is not finite.
    """

    ids: Int[Tensor, "q k"]
    removal_effect: Float[Tensor, "q k"]
    distances: Float[Tensor, "q k"] | None = None
    spread: Float[Tensor, "q k"] | None = None
    nonfinite_ids: Int[Tensor, " d"] = field(
        default_factory=lambda: torch.empty(0, dtype=torch.long)
    )


def concat_influences(batches: Sequence[Influences]) -> Influences:
    """Those of all queries, from those of some each."""

    def join(name: str) -> Any:
        values = [getattr(batch, name) for batch in batches]
        return None if values[0] is None else torch.cat(values)

    names = ("ids", "removal_effect", "distances", "spread")
    nonfinite_ids = torch.cat([batch.nonfinite_ids for batch in batches]).unique()
    return Influences(**{name: join(name) for name in names}, nonfinite_ids=nonfinite_ids)


def influence(
    gradients: Gradients,
    train: ExamplesLike,
    s_test: Float[Tensor, "q p"],
    candidates: Candidates | None = None,
    *,
    keep: int | None = None,
) -> Influences:
    """Removal effects of training examples on queries whose s_test is (H + λI)⁻¹ ∇L(query).

    The gradient of each distinct candidate is taken once and multiplied with all q queries. Without
    candidates the whole training set passes by; then only the `keep` most harmful and the `keep`
    most helpful rows of each query are held, never a q x n matrix.

    Args:
        gradients: of the objective that s_test was solved for.
        train: the n training examples, whose `batch_size` says how many gradients are held.
        s_test: one solved row a query.
        candidates: positions to score for each query; None scans the full training set.
        keep: rows kept at each end of a full scan; None keeps all.

    Raises:
        InputError: `keep` is below 1.
    """
    try_table(gradients.objective, train, "training set")
    scorers = [GradientScorer(gradients, train, s_test)]
    return mean_influence(scorers, candidates, keep=keep)


def mean_influence(
    scorers: Sequence[Scorer],
    candidates: Candidates | None = None,
    *,
    keep: int | None = None,
    totals: SliceTotals | None = None,
) -> Influences:
    """The mean of several models' removal effects, and its spread; as `influence` for one model.

    Tile by tile the models' products are averaged before the ends are kept, so that the rows kept
    are the most extreme ones of the mean. Of each model its s_test [q p] and one tile are held.

    Raises:
        InputError: `keep` is below 1.
    """
    if keep is not None and keep < 1:
        raise InputError("keep", "1 or more, or None for all", f"{keep}", "Leave it out.")
    if candidates is None:
        return _scan_all(scorers, keep, totals)
    return _score_candidates(scorers, candidates)


def self_influence(
    gradients: Gradients,
    train: ExamplesLike,
    operator: DampedOperator,
    solver: Solver,
    ids: Ids | None = None,
    *,
    factor: Factor | None = None,
    chunk_size: int = 32,
) -> Float[Tensor, " m"]:
    """1/n ∇L(z)ᵀ (H + λI)⁻¹ ∇L(z): how much removing a training example raises its own loss.

    The diagonal of the full removal-effect matrix to first order; never negative. `chunk_size`
    gradients are solved for together, whatever the examples' `batch_size`.

    Raises:
        InputError: the damped curvature is not positive definite.
    """
    try_table(gradients.objective, train, "training set")
    ids = all_ids(train) if ids is None else as_ids(ids, len(train))
    operator_factor = solver.factor(operator) if factor is None else factor
    require_positive_definite(operator, operator_factor)
    solve, values = solver.prepare(operator, operator_factor), []
    for chunk in ids.split(chunk_size):
        vectors = compute_loss_gradients(gradients, train, chunk)
        values.append((solve(vectors).value * vectors).sum(1))
    return torch.cat(values) / len(train)


def _score_candidates(scorers: Sequence[Scorer], candidates: Candidates) -> Influences:
    ids = candidates.ids.clone()
    unique_ids, column = ids.unique(return_inverse=True)
    query_index = torch.arange(len(ids))[:, None].expand_as(ids).flatten()
    valid = unique_ids != NO_EXAMPLE
    scores = scorers[0].like.new_full(ids.shape, torch.inf).cpu()
    spread = scores.clone() if len(scorers) > 1 else None
    # Cells sorted by the candidate they ask for, so that a tile finds its own without a search.
    order = torch.argsort(column.flatten(), stable=True)
    bounds = torch.cat([torch.zeros(1, dtype=torch.long), column.flatten().bincount().cumsum(0)])
    slots, nonfinite_ids = torch.arange(len(unique_ids))[valid], []
    for tile, effects in _iterate_effects(scorers, unique_ids[valid]):
        values = effects.values.cpu()
        spreads = None if effects.spread is None else effects.spread.cpu()
        for position, slot in enumerate(slots[tile].tolist()):
            cells = order[bounds[slot] : bounds[slot + 1]]
            if not effects.finite[position]:
                nonfinite_ids.append(int(unique_ids[slot]))
                ids.view(-1)[cells] = NO_EXAMPLE
                continue
            scores.view(-1)[cells] = values[query_index[cells], position]
            if spread is not None and spreads is not None:
                spread.view(-1)[cells] = spreads[query_index[cells], position]
    order = top_bottom_k(ids, scores)
    distances = candidates.distances
    return Influences(
        ids.gather(1, order),
        scores.gather(1, order),
        None if distances is None else distances.gather(1, order),
        None if spread is None else spread.gather(1, order),
        torch.tensor(nonfinite_ids).long().sort().values,
    )


def _scan_all(
    scorers: Sequence[Scorer], keep: int | None, totals: SliceTotals | None
) -> Influences:
    train_ids, nonfinite_ids = all_ids(scorers[0].train), []
    extremes = TopBottomK(scorers[0].queries, keep, spread=len(scorers) > 1)
    for tile, effects in _iterate_effects(scorers, train_ids):
        finite = effects.finite
        nonfinite_ids.append(train_ids[tile][~finite])
        values, spread, ids = effects.values, effects.spread, train_ids[tile][finite]
        if len(ids) < len(tile):
            values = values[:, finite]
            spread = None if spread is None else spread[:, finite]
        extremes.add(ids, values, spread)
        if totals is not None:
            totals.add(ids, values)
    kept_ids, scores, spread = extremes.get_result()
    return Influences(kept_ids, scores, None, spread, torch.cat(nonfinite_ids).sort().values)


def _iterate_effects(
    scorers: Sequence[Scorer], ids: Int[Tensor, " m"]
) -> Iterator[tuple[Int[Tensor, " b"], Effects]]:
    """Places in `ids` and the effects of the examples there; what memory cannot hold, in halves."""
    for positions in scorers[0].train.length_buckets(ids):
        yield from split_on_oom(lambda subset: average_effects(scorers, ids[subset]), positions)
