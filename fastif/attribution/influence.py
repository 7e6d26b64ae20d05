"""Influence scores, and the one convention of their sign and unit.

    removal_effect[query, train] = 1/n · ∇L(query)ᵀ (H + λI)⁻¹ ∇L(train)

is the predicted change of the query's loss, in nats, if the training example were removed and the
model trained again (n training examples, H the mean curvature, λ the effective damping). Positive:
the loss would rise, the example is **helpful**. Negative: **harmful**. I_up,loss of the FastIF
paper (Guo et al., 2021) is -n times this. With leverage (`fastif.attribution.leverage`) H excludes
the removed example's own term. No other place in the project changes the sign of a score.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.attribution.full_scan import iterate_effects, scan_all
from fastif.attribution.influence_table import InfluenceTable, TabularResult
from fastif.attribution.ranking import Ranking
from fastif.attribution.scorers import GradientScorer, Scorer
from fastif.attribution.slice_totals import SliceTotals
from fastif.candidates.faiss_index import Candidates
from fastif.curvature.operator import DampedOperator
from fastif.data.arrays import Ids, as_ids
from fastif.data.examples import all_ids
from fastif.data.torch_forms import ExamplesLike
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, compute_loss_gradients
from fastif.models.trial import try_table
from fastif.numerics.top_bottom_k import top_bottom_k
from fastif.solvers.definiteness import require_positive_definite
from fastif.solvers.solver import Factor, Solver

NO_EXAMPLE = -1
"""Id of an empty cell: an approximate index returned fewer than k, or a gradient is not finite."""
_COLUMNS = ("ids", "removal_effect", "distances", "spread", "ranking_score")


@dataclass(frozen=True, eq=False)
class Influences(TabularResult):
    """Scored training examples of each query, the most harmful first.

    Equal scores are ordered by position, so the table does not depend on the batch size. An empty
    cell has the id `NO_EXAMPLE` and an infinite score, and comes last. In a notebook it displays
    itself as a table; `with_texts` adds the texts, and `to_polars`, `to_pandas` and `plot` convert
    it.

    Attributes:
        ids: Positions [q k] in the training set.
        removal_effect: Predicted change [q k] of the query's loss without the example, in nats;
            negative = harmful, positive = helpful.
        distances: Distances [q k] reported by the candidate index; None in a full scan.
        spread: Standard deviation [q k] of the score over models, in nats; None for one model.
        ranking_score: Score [q k] without unit by which the examples are ordered, see `Ranking`;
            None where that is the removal effect itself.
        nonfinite_ids: Positions of training examples that could not be scored, because their
            gradient is not finite.
    """

    ids: Int[Tensor, "q k"]
    removal_effect: Float[Tensor, "q k"]
    distances: Float[Tensor, "q k"] | None = None
    spread: Float[Tensor, "q k"] | None = None
    ranking_score: Float[Tensor, "q k"] | None = None
    nonfinite_ids: Int[Tensor, " d"] = field(
        default_factory=lambda: torch.empty(0, dtype=torch.long)
    )

    @property
    def ranking(self) -> Float[Tensor, "q k"]:
        """Numbers [q k] by which the examples are ordered, ascending."""
        return self.removal_effect if self.ranking_score is None else self.ranking_score

    def as_table(self) -> InfluenceTable:
        return InfluenceTable(
            self.ids, self.removal_effect, self.spread, self.ranking_score, self.distances
        )

    def select_queries(self, is_selected: Bool[Tensor, " q"]) -> "Influences":
        """Return the influences on the selected queries."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return replace(
            self, **{k: None if v is None else v[is_selected] for k, v in columns.items()}
        )


def concat_influences(batches: Sequence[Influences]) -> Influences:
    """Concatenate the influences of batches of queries."""

    def concat(name: str) -> Any:
        values = [getattr(batch, name) for batch in batches]
        return None if values[0] is None else torch.cat(values)

    nonfinite_ids = torch.cat([batch.nonfinite_ids for batch in batches]).unique()
    return Influences(**{name: concat(name) for name in _COLUMNS}, nonfinite_ids=nonfinite_ids)


def influence(
    gradients: Gradients,
    train: ExamplesLike,
    s_test: Float[Tensor, "q p"],
    candidates: Candidates | None = None,
    *,
    keep: int | None = None,
) -> Influences:
    """Influence of training examples on queries with known s_test = (H + λI)⁻¹ ∇L(query).

        removal_effect[query, train] = 1/n s_test(query)ᵀ ∇L(train)

    (Koh and Liang, 2017), in nats. The gradient of each distinct candidate is computed once and
    multiplied with all q queries. Without candidates the full training set is scanned; then only
    the `keep` most harmful and the `keep` most helpful examples of each query are held, never a q x
    n matrix. Effects are first-order: leverage needs an `Attributor`.

    Args:
        gradients: Per-example gradients of the objective for which s_test was solved.
        train: Training set of n examples; its `batch_size` bounds how many gradients are held.
        s_test: Inverse-Hessian-vector products [q p], one for each query.
        candidates: Positions to score for each query; None scans the full training set.
        keep: Examples kept at each end of a full scan (top-k and bottom-k); None keeps all.

    Returns:
        Scored examples of each query, the most harmful first.

    Raises:
        InputError: `keep` is below 1.

    Examples:
        >>> from fastif import Gradients, ModuleObjective, SquaredError, TensorExamples
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> model.weight.data[:] = 1.0
        >>> train = TensorExamples([[1.0], [2.0]], [[0.0], [0.0]])
        >>> gradients = Gradients(ModuleObjective(model, SquaredError()))  # ∇L = 2 and 8
        >>> influence(gradients, train, torch.tensor([[3.0]])).removal_effect  # 3 · (2, 8) / 2
        tensor([[ 3., 12.]])
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
    ranking: Ranking | None = None,
    buckets: Iterable[Int[Tensor, " b"]] | None = None,
) -> Influences:
    """Mean and spread of several models' removal effects; `influence` for one model.

    The models' scores are averaged batch by batch before the top-k and bottom-k are selected, so
    the kept examples are the most extreme of the mean. Each model holds its s_test [q p] and one
    batch of gradients. With a `ranking` the examples are selected and ordered by its score,
    `ranking_score`, and the removal effects stay as they are, as do the totals. With `buckets` a
    full scan is of these batches of positions alone.

    Raises:
        InputError: `keep` is below 1.
    """
    if keep is not None and keep < 1:
        raise InputError("keep", "1 or more, or None for all", f"{keep}", "Omit it to keep all.")
    if candidates is None:
        return _scan_all(scorers, keep, totals, ranking, buckets)
    return _score_candidates(scorers, candidates, ranking)


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
    """Self-influence 1/n ∇L(z)ᵀ (H + λI)⁻¹ ∇L(z): an example's removal effect on its own loss.

    The diagonal of the removal-effect matrix to first order, in nats; never negative. High values
    indicate memorised, atypical or mislabeled examples (Koh and Liang, 2017).

    Args:
        gradients: Per-example gradients of the objective.
        train: Training set of n examples.
        operator: Damped curvature H + λI.
        solver: Method that inverts the operator.
        ids: Positions of m examples; all by default.
        factor: Factorisation that the solver reuses; computed by default.
        chunk_size: Number of gradients solved together, independent of the examples' `batch_size`.

    Returns:
        One value for each position, in nats.

    Raises:
        InputError: The damped curvature is not positive definite.

    Examples:
        >>> from fastif import Direct, GaussNewton, ModuleObjective, SquaredError, TensorExamples
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> model.weight.data[:] = 1.0
        >>> train = TensorExamples([[1.0], [2.0]], [[0.0], [0.0]])
        >>> curvature = GaussNewton(ModuleObjective(model, SquaredError()), train)
        >>> operator = curvature.with_damping(1.0)
        >>> self_influence(curvature.gradients, train, operator, Direct())  # 1/2 (4, 64) / (5 + 1)
        tensor([0.3333, 5.3333])
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


def _score_candidates(
    scorers: Sequence[Scorer], candidates: Candidates, ranking: Ranking | None
) -> Influences:
    ids = candidates.ids.clone()
    unique_ids, column = ids.unique(return_inverse=True)
    query_index = torch.arange(len(ids))[:, None].expand_as(ids).flatten()
    valid = unique_ids != NO_EXAMPLE
    scores = scorers[0].like.new_full(ids.shape, torch.inf).cpu()
    spread = scores.clone() if len(scorers) > 1 else None
    ranking_score = None if ranking is None else scores.clone()
    # Cells sorted by candidate, so that the cells of a batch's candidates are contiguous.
    order = torch.argsort(column.flatten(), stable=True)
    bounds = torch.cat([torch.zeros(1, dtype=torch.long), column.flatten().bincount().cumsum(0)])
    slots, nonfinite_ids = torch.arange(len(unique_ids))[valid], []
    for tile, effects in iterate_effects(scorers, unique_ids[valid], ranking):
        columns = effects.pair_columns(scores, spread, ranking_score)
        for position, slot in enumerate(slots[tile].tolist()):
            cells = order[bounds[slot] : bounds[slot + 1]]
            if not effects.finite[position]:
                nonfinite_ids.append(int(unique_ids[slot]))
                ids.view(-1)[cells] = NO_EXAMPLE
                continue
            for column, values in columns:
                column.view(-1)[cells] = values[query_index[cells], position]
    # An empty cell has an infinite score, so it comes last.
    order = top_bottom_k(ids, scores if ranking_score is None else ranking_score)
    attached = (candidates.distances, spread, ranking_score)
    return Influences(
        ids.gather(1, order),
        scores.gather(1, order),
        *(None if column is None else column.gather(1, order) for column in attached),
        nonfinite_ids=torch.tensor(nonfinite_ids).long().sort().values,
    )


def _scan_all(
    scorers: Sequence[Scorer],
    keep: int | None,
    totals: SliceTotals | None,
    ranking: Ranking | None,
    buckets: Iterable[Tensor] | None,
) -> Influences:
    scanned = scan_all(scorers, keep, totals, ranking, buckets)
    columns = [*scanned.columns]
    ranking_score = None if ranking is None else columns.pop(0)
    return Influences(
        scanned.ids,
        columns[0],
        spread=columns[1] if len(scorers) > 1 else None,
        ranking_score=ranking_score,
        nonfinite_ids=scanned.nonfinite_ids,
    )
