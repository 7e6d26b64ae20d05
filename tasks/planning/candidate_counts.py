"""How many candidates queries have, before they are searched for."""

from fastif.evaluation.select_k import TOP_SIZE, make_k_grid
from tasks.run.context import RunContext
from tasks.study.candidates import (
    AnyCandidates,
    AnyMethod,
    FullScanSection,
    KnnSection,
)

K_GUESS_DIVISOR, K_GUESS_FACTOR = 10, 2
"""A tenth of the rows stands for a k that is yet to be chosen. Sketches have taken fewer on large
tables: the first k that is tried with room for twice the rows that are to be found."""
DISTINCT_EXPONENT = {"sketch": 0.6, "knn": 0.85}
"""The candidates of q queries are as many as those of q to this power that have none in common. On
3,500 rows of the example 60 queries had 0.64 and 0.45 of the rows at k = 10 and 5 % by sketches
(0.71 and 0.45 by this power), 0.81 by nearest rows at 5 %."""


def count_kept_scores(candidates: AnyCandidates, rows: int) -> int:
    """Scores of one query that are kept; a guess where k is yet to be chosen."""
    if isinstance(candidates, FullScanSection):
        return 2 * candidates.keep
    return sum(_count_candidates(method, rows) for method in candidates.methods)


def estimate_distinct_candidates(context: RunContext) -> float:
    """Distinct candidates of a shard; queries share them, as if fewer had drawn them at random."""
    rows, shard_size = (
        len(context.train_texts),
        min(context.plan.record.shard_size, len(context.query_texts)),
    )
    if isinstance(context.candidates, FullScanSection):
        return rows
    miss_rate = 1.0
    for method in context.candidates.methods:
        share = min(1.0, _count_candidates(method, rows) / rows)
        miss_rate *= (1 - share) ** (shard_size ** DISTINCT_EXPONENT[method.kind])
    return rows * (1 - miss_rate)


def _count_candidates(method: AnyMethod, rows: int) -> int:
    """Candidates of one query; a guess where k is yet to be chosen."""
    guess = -(-rows // K_GUESS_DIVISOR)
    if method.k is not None or isinstance(method, KnnSection):
        return method.k or guess
    return min([k for k in make_k_grid(rows) if k >= K_GUESS_FACTOR * TOP_SIZE] + [guess])
