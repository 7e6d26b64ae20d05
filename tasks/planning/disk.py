"""The bytes that an audit adds to its store."""

from collections.abc import Collection

from fastif.solvers.cost import FLOAT32_BYTES
from tasks.planning.memory import compute_sketch_dimensions, estimate_solver_cost
from tasks.run.artifact_keys import factor_digest, index_digests
from tasks.run.context import RunContext
from tasks.run.hidden_states import count_unwritten_bytes
from tasks.run.sketches import find_pending_sketches
from tasks.study.candidates import AnyMethod, FullScanSection, SketchSection

BYTES_PER_SCORE = 10
BYTES_PER_TOTAL = 20
"""Of a training row and shard: two slices or more, of which most compress well."""
FLOAT16_BYTES = 2
"""Bytes of a number of a sketch."""
POSITION_BYTES, DIGEST_BYTES = 8, 16
"""Of where a training row's sketch lies, and of the name that it is found again by."""
SKETCHER_OVERHEAD = 1.15
"""A sketcher is its basis, and the directions that it narrows each layer to."""


def estimate_disk_usage(context: RunContext, pairs: int, ready: Collection[str]) -> int:
    """Of scores, texts, sums over queries, and of parts that are not there yet.

    Args:
        context: the study.
        pairs: scores to be written.
        ready: what earlier runs left: "train", and digests of parts.
    """
    methods = zip(context.study.candidates.methods, index_digests(context), strict=True)
    indices = sum(_index_bytes(context, method, digest, ready) for method, digest in methods)
    factors = sum(
        estimate_solver_cost(member).factor_bytes
        for member in context.members
        if factor_digest(member) not in ready
    )
    sums = _sum_bytes(context) + count_unwritten_bytes(context)
    return pairs * BYTES_PER_SCORE + _text_bytes(context, ready) + indices + factors + sums


def _index_bytes(
    context: RunContext, method: AnyMethod, digest: str, ready: Collection[str]
) -> int:
    """As if nothing were compressed, as FAISS' approximate indices do; what is there not again."""
    rows = len(context.train_texts)
    if not isinstance(method, SketchSection):
        width = context.objective.full_model.config.get_text_config().hidden_size
        return rows * width * FLOAT32_BYTES * (digest not in ready)
    remaining = find_pending_sketches(context, method, digest)
    if remaining.has_list:
        return 0
    dimensions = compute_sketch_dimensions(context, method)
    basis = (
        0
        if remaining.has_sketcher
        else int(SKETCHER_OVERHEAD * dimensions * method.width * FLOAT32_BYTES)
    )
    approximate = rows * dimensions * FLOAT32_BYTES * (method.factory != "Flat")
    return (
        basis
        + approximate
        + FLOAT16_BYTES * remaining.rows * dimensions
        + rows * (POSITION_BYTES + DIGEST_BYTES)
    )


def _sum_bytes(context: RunContext) -> int:
    candidates = context.candidates
    totals = isinstance(candidates, FullScanSection) and candidates.totals
    return (
        totals * len(context.plan.record.list_shards()) * len(context.train_texts) * BYTES_PER_TOTAL
    )


def _text_bytes(context: RunContext, ready: Collection[str]) -> int:
    inputs = context.plan.inputs
    tables = (inputs.queries,) if "train" in ready else (inputs.train, inputs.queries)
    texts = [text for table in tables for text in (*table.texts, *(table.text_pairs or []))]
    return sum(len(text) for text in texts) // 2  # zstd about halves short texts
