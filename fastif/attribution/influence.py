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
    mean_effects,
)
from fastif.attribution.slice_totals import Totals
from fastif.candidates.faiss_index import Candidates
from fastif.curvature.operator import Damped
from fastif.data.arrays import Ids, as_ids
from fastif.data.examples import every, places_by_length
from fastif.data.torch_forms import Given
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, gradient_rows
from fastif.models.trial import try_table
from fastif.numerics.out_of_memory import in_parts
from fastif.numerics.top_bottom_k import Ends, ends_of
from fastif.solvers.definiteness import positive_definite
from fastif.solvers.solver import Factor, Solver

UNSEEN = -1
"""The id of a cell without an example: an approximate index found fewer than k, or the example's
gradient is not finite."""


@dataclass(frozen=True, eq=False)
class Influences:
    """For each query its scored training examples, the most harmful first.

    Equal scores are ordered by position, so the table does not depend on tiles or their order.
    A cell without an example has the id `UNSEEN`, an infinite score, and comes last.

    Attributes:
        ids: positions in the training set.
        removal_effect: nats; negative = harmful.
        distances: of the candidate index; None in a full scan.
        spread: standard deviation of the score over models, in nats; None for one model.
        broken: training examples that were to be scored but whose gradient is not finite.
    """

    ids: Int[Tensor, "q k"]
    removal_effect: Float[Tensor, "q k"]
    distances: Float[Tensor, "q k"] | None = None
    spread: Float[Tensor, "q k"] | None = None
    broken: Int[Tensor, " d"] = field(default_factory=lambda: torch.empty(0, dtype=torch.long))


def join_influences(parts: Sequence[Influences]) -> Influences:
    """Those of all queries, from those of some each."""

    def join(name: str) -> Any:
        found = [getattr(part, name) for part in parts]
        return None if found[0] is None else torch.cat(found)

    names = ("ids", "removal_effect", "distances", "spread")
    broken = torch.cat([part.broken for part in parts]).unique()
    return Influences(**{name: join(name) for name in names}, broken=broken)


def influence(
    gradients: Gradients,
    train: Given,
    s_test: Float[Tensor, "q p"],
    candidates: Candidates | None = None,
    *,
    keep: int | None = None,
    batch_size: int = 32,
) -> Influences:
    """Removal effects of training examples on queries whose s_test is (H + λI)⁻¹ ∇L(query).

    The gradient of each distinct candidate is taken once and multiplied with all q queries. Without
    candidates the whole training set passes by; then only the `keep` most harmful and the `keep`
    most helpful rows of each query are held, never a q x n matrix.

    Args:
        gradients: of the objective that s_test was solved for.
        train: the n training examples.
        s_test: one solved row a query.
        candidates: positions to score for each query; None scans the full training set.
        keep: rows kept at each end of a full scan; None keeps all.
        batch_size: training examples whose gradients are held at once.

    Raises:
        InputError: `keep` is below 1.
    """
    try_table(gradients.objective, train, "training set")
    scorers = [GradientScorer(gradients, train, s_test)]
    return mean_influence(scorers, candidates, keep=keep, batch_size=batch_size)


def mean_influence(
    scorers: Sequence[Scorer],
    candidates: Candidates | None = None,
    *,
    keep: int | None = None,
    batch_size: int = 32,
    totals: Totals | None = None,
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
        return _scan(scorers, keep, batch_size, totals)
    return _score(scorers, candidates, batch_size)


def self_influence(
    gradients: Gradients,
    train: Given,
    operator: Damped,
    solver: Solver,
    ids: Ids | None = None,
    *,
    factor: Factor | None = None,
    shard: int = 32,
    batch_size: int = 32,
) -> Float[Tensor, " m"]:
    """1/n ∇L(z)ᵀ (H + λI)⁻¹ ∇L(z): how much removing a training example raises its own loss.

    The diagonal of the full removal-effect matrix to first order; never negative.

    Raises:
        InputError: the damped curvature is not positive definite.
    """
    try_table(gradients.objective, train, "training set")
    ids = every(train) if ids is None else as_ids(ids, len(train))
    made = solver.factor(operator) if factor is None else factor
    positive_definite(operator, made)
    solve, found = solver.prepare(operator, made), []
    for part in ids.split(shard):
        rows = gradient_rows(gradients, train, part, batch_size)
        found.append((solve(rows).value * rows).sum(1))
    return torch.cat(found) / len(train)


def _score(scorers: Sequence[Scorer], candidates: Candidates, batch_size: int) -> Influences:
    ids = candidates.ids.clone()
    wanted, column = ids.unique(return_inverse=True)
    query = torch.arange(len(ids))[:, None].expand_as(ids).flatten()
    seen = wanted != UNSEEN
    scores = scorers[0].like.new_full(ids.shape, torch.inf).cpu()
    spread = scores.clone() if len(scorers) > 1 else None
    # Cells sorted by the candidate they ask for, so that a tile finds its own without a search.
    order = torch.argsort(column.flatten(), stable=True)
    bounds = torch.cat([torch.zeros(1, dtype=torch.long), column.flatten().bincount().cumsum(0)])
    places, broken = torch.arange(len(wanted))[seen], []
    for tile, effects in _tiles(scorers, wanted[seen], batch_size):
        values = effects.values.cpu()
        gaps = None if effects.spread is None else effects.spread.cpu()
        for position, place in enumerate(places[tile].tolist()):
            cells = order[bounds[place] : bounds[place + 1]]
            if not effects.sound[position]:
                broken.append(int(wanted[place]))
                ids.view(-1)[cells] = UNSEEN
                continue
            scores.view(-1)[cells] = values[query[cells], position]
            if spread is not None and gaps is not None:
                spread.view(-1)[cells] = gaps[query[cells], position]
    order = ends_of(ids, scores)
    distances = candidates.distances
    return Influences(
        ids.gather(1, order),
        scores.gather(1, order),
        None if distances is None else distances.gather(1, order),
        None if spread is None else spread.gather(1, order),
        torch.tensor(broken).long().sort().values,
    )


def _scan(
    scorers: Sequence[Scorer], keep: int | None, batch_size: int, totals: Totals | None
) -> Influences:
    everyone, broken = every(scorers[0].train), []
    ends = Ends(scorers[0].queries, keep, spread=len(scorers) > 1)
    for tile, effects in _tiles(scorers, everyone, batch_size):
        sound = effects.sound
        broken.append(everyone[tile][~sound])
        values, spread, ids = effects.values, effects.spread, everyone[tile][sound]
        if len(ids) < len(tile):
            values = values[:, sound]
            spread = None if spread is None else spread[:, sound]
        ends.add(ids, values, spread)
        if totals is not None:
            totals.add(ids, values)
    found, scores, spread = ends.found()
    return Influences(found, scores, None, spread, torch.cat(broken).sort().values)


def _tiles(
    scorers: Sequence[Scorer], ids: Int[Tensor, " m"], batch_size: int
) -> Iterator[tuple[Int[Tensor, " b"], Effects]]:
    """Places in `ids` and the effects of the examples there; what memory cannot hold, in halves."""
    for places in places_by_length(scorers[0].train, ids, batch_size):
        yield from in_parts(lambda some: mean_effects(scorers, ids[some]), places)
