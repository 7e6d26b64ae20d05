"""Scores, and the one convention of sign and unit.

    removal_effect[query, train] = 1/n · ∇L(query)ᵀ (H + λI)⁻¹ ∇L(train)

is the predicted change of the query's loss, in nats, if the training example were removed and the
model trained again (n training examples, H the mean curvature, λ the effective damping). Positive:
the loss would rise, the example is **helpful**. Negative: **harmful**. The FastIF paper's
I_up,loss is -n times this. No other place in the project changes the sign of a score.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.index import Candidates
from fastif.curvature.operator import Damped
from fastif.errors import InputError
from fastif.examples import Examples, batches, every
from fastif.gradients import Gradients, gradient_rows
from fastif.solvers.solver import Factor, Solver

UNSEEN = -1
"""The id that fills up a row of candidates when an approximate index found fewer than k."""


@dataclass(frozen=True, eq=False)
class Influences:
    """For each query its scored training examples, the most harmful first.

    Equal scores are ordered by position, so the table does not depend on tiles or their order.
    Where an approximate index found fewer than k candidates, the id is `UNSEEN`, the score infinite
    and the cell last.

    Attributes:
        ids: positions in the training set.
        removal_effect: nats; negative = harmful.
        distances: of the candidate index; None in a full scan.
    """

    ids: Int[Tensor, "q k"]
    removal_effect: Float[Tensor, "q k"]
    distances: Float[Tensor, "q k"] | None = None


def influence(
    gradients: Gradients,
    train: Examples,
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
    if keep is not None and keep < 1:
        raise InputError("keep", "1 or more, or None for all", f"{keep}", "Leave it out.")
    if candidates is None:
        return _scan(gradients, train, s_test, keep or len(train), batch_size)
    return _score(gradients, train, s_test, candidates, batch_size)


def self_influence(
    gradients: Gradients,
    train: Examples,
    operator: Damped,
    solver: Solver,
    ids: Int[Tensor, " m"] | None = None,
    *,
    factor: Factor | None = None,
    shard: int = 32,
    batch_size: int = 32,
) -> Float[Tensor, " m"]:
    """1/n ∇L(z)ᵀ (H + λI)⁻¹ ∇L(z): how much removing a training example raises its own loss.

    The diagonal of the full removal-effect matrix; never negative for a positive definite operator.
    """
    ids = every(train) if ids is None else ids
    factor = solver.factor(operator) if factor is None else factor
    found = []
    for part in ids.split(shard):
        rows = gradient_rows(gradients, train, part, batch_size)
        solved = solver.solve(operator, rows, factor).value
        found.append((solved * rows).sum(1))
    return torch.cat(found) / len(train)


def _score(
    gradients: Gradients, train: Examples, s_test: Tensor, candidates: Candidates, batch_size: int
) -> Influences:
    ids = candidates.ids
    wanted, column = ids.unique(return_inverse=True)
    query = torch.arange(len(ids))[:, None].expand_as(ids)
    seen = wanted != UNSEEN
    scores = s_test.new_full(ids.shape, torch.inf).cpu()
    # Cells sorted by the candidate they ask for, so that a tile finds its own without a search.
    order = torch.argsort(column.flatten(), stable=True)
    bounds = torch.cat([torch.zeros(1, dtype=torch.long), column.flatten().bincount().cumsum(0)])
    places = torch.arange(len(wanted))[seen]
    for tile_places, batch in batches(train, wanted[seen], batch_size):
        products = gradients.of_losses(batch).times(s_test).div_(len(train)).cpu()
        for position, place in enumerate(places[tile_places].tolist()):
            cells = order[bounds[place] : bounds[place + 1]]
            rows = query.flatten()[cells]
            scores.view(-1)[cells] = products[rows, position]
    return _ordered(ids, scores, candidates.distances)


def _scan(
    gradients: Gradients, train: Examples, s_test: Tensor, keep: int, batch_size: int
) -> Influences:
    ids = torch.empty(len(s_test), 0, dtype=torch.long)
    scores = s_test.new_empty(len(s_test), 0).cpu()
    for places, batch in batches(train, every(train), batch_size):
        products = gradients.of_losses(batch).times(s_test).div_(len(train)).cpu()
        found = _ordered(
            torch.cat([ids, places.expand(len(s_test), -1)], 1), torch.cat([scores, products], 1)
        )
        ids, scores = _both_ends(found.ids, keep), _both_ends(found.removal_effect, keep)
    return Influences(ids, scores)


def _both_ends(rows: Tensor, keep: int) -> Tensor:
    if rows.shape[1] <= 2 * keep:
        return rows
    return torch.cat([rows[:, :keep], rows[:, -keep:]], dim=1)


def _ordered(ids: Tensor, scores: Tensor, distances: Tensor | None = None) -> Influences:
    by_id = ids.argsort(dim=1)
    order = by_id.gather(1, scores.gather(1, by_id).argsort(dim=1, stable=True))
    return Influences(
        ids.gather(1, order),
        scores.gather(1, order),
        None if distances is None else distances.gather(1, order),
    )
