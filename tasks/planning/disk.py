"""The bytes that an audit adds to its store."""

from collections.abc import Collection

from tasks.planning.memory import estimate_index_costs, estimate_solver_cost
from tasks.run.artifact_keys import factor_digest
from tasks.run.context import RunContext
from tasks.run.hidden_states import count_unwritten_bytes

BYTES_PER_SCORE = 10
BYTES_PER_TOTAL = 20
"""Of a training row and shard: two slices or more, of which most compress well."""


def estimate_disk_usage(context: RunContext, pairs: int, ready: Collection[str]) -> int:
    """Of scores, texts, sums over queries, and of parts that are not there yet.

    Args:
        context: the study.
        pairs: scores to be written.
        ready: what earlier runs left: "train", and digests of parts.
    """
    indices = sum(cost.disk_bytes for cost in estimate_index_costs(context))
    factors = sum(
        estimate_solver_cost(member).factor_bytes
        for member in context.members
        if factor_digest(member) not in ready
    )
    sums = _sum_bytes(context) + count_unwritten_bytes(context)
    return pairs * BYTES_PER_SCORE + _text_bytes(context, ready) + indices + factors + sums


def _sum_bytes(context: RunContext) -> int:
    shards, rows = len(context.plan.record.list_shards()), len(context.train_texts)
    return context.candidates.has_totals * shards * rows * BYTES_PER_TOTAL


def _text_bytes(context: RunContext, ready: Collection[str]) -> int:
    inputs = context.plan.inputs
    tables = (inputs.queries,) if "train" in ready else (inputs.train, inputs.queries)
    texts = [text for table in tables for text in (*table.texts, *(table.text_pairs or []))]
    return sum(len(text) for text in texts) // 2  # zstd about halves short texts
