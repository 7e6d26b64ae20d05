"""Disk model: bytes that an audit adds to its store."""

from tasks.planning.workload import Workload

BYTES_PER_SCORE = 10
BYTES_PER_TOTAL = 20
"""Bytes of `totals` for a training row and shard: two or more slices, most of which compress
well."""


def estimate_disk_usage(workload: Workload, pairs: int) -> int:
    """Return the bytes of scores, texts and totals, and of artifacts that are missing.

    Args:
        workload: Workload of the run.
        pairs: Number of scores to write.
    """
    indices = sum(cost.disk_bytes for cost in workload.index_costs)
    factors = workload.prepared.missing_factors * workload.solver_cost.factor_bytes
    sums = _sum_bytes(workload) + workload.hidden.unwritten_bytes
    return pairs * BYTES_PER_SCORE + _text_bytes(workload) + indices + factors + sums


def _sum_bytes(workload: Workload) -> int:
    shards, rows = workload.remaining.planned_shards, workload.train.rows
    return workload.candidates.has_totals * shards * rows * BYTES_PER_TOTAL


def _text_bytes(workload: Workload) -> int:
    characters = workload.queries.characters
    if not workload.prepared.has_train_table:
        characters += workload.train.characters
    return characters // 2  # zstd about halves short texts
