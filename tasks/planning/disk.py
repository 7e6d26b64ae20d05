"""The bytes that an audit adds to its store."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import fastif
from tasks.planning.memory import FLOAT, dimensions_of, root_rows
from tasks.run.hidden_states import unwritten_bytes
from tasks.run.sketches import pending
from tasks.study.sections import AnyMethod, FullScan, Sketches

if TYPE_CHECKING:  # a job is planned by its forecast while it is made
    from tasks.run.context import Job

BYTES_A_SCORE = 10
BYTES_A_SUM = 20
"""Of a training row and shard: two slices or more, of which most compress well."""
HALF = 2
"""Bytes of a number of a sketch."""
PLACE, DIGEST = 8, 16
"""Of where a training row's sketch lies, and of the name that it is found again by."""
EXTRA = 1.15
"""A sketcher is its basis, and the directions that it narrows each layer to."""


def added_bytes(job: "Job", pairs: int, there: Collection[str]) -> int:
    """Of scores, texts, sums over queries, and of parts that are not there yet.

    Args:
        job: the study.
        pairs: scores to be written.
        there: what earlier runs left: "train", and digests of parts.
    """
    methods = zip(job.study.candidates.methods, job.index_digests, strict=True)
    indices = sum(_index_bytes(job, method, digest, there) for method, digest in methods)
    factors = sum(_factor_bytes(one) for one in job.members if one.factor_digest not in there)
    summed = _sum_bytes(job) + unwritten_bytes(job)
    return pairs * BYTES_A_SCORE + _text_bytes(job, there) + indices + factors + summed


def _index_bytes(job: "Job", method: AnyMethod, digest: str, there: Collection[str]) -> int:
    """As if nothing were compressed, as FAISS' approximate indices do; what is there not again."""
    rows = len(job.train_texts)
    if not isinstance(method, Sketches):
        width = job.objective.whole.config.get_text_config().hidden_size
        return rows * width * FLOAT * (digest not in there)
    left = pending(job, method, digest)
    if left.listed:
        return 0
    dimensions = dimensions_of(job, method)
    basis = 0 if left.fitted else int(EXTRA * dimensions * method.width * FLOAT)
    approximate = rows * dimensions * FLOAT * (method.factory != "Flat")
    return basis + approximate + HALF * left.rows * dimensions + rows * (PLACE + DIGEST)


def _factor_bytes(job: "Job") -> int:
    """Of a kernel or of rows; small against these is what other solvers keep."""
    solver, rows, p = job.study.solver, root_rows(job), job.objective.space.size
    if isinstance(solver, fastif.Dual):
        return FLOAT * rows * min(rows, solver.rank or rows)
    kept = getattr(solver, "preconditioner", "none")
    return FLOAT * min(solver.rank, p) * p if kept == "eigen" else 0  # type: ignore[union-attr]


def _sum_bytes(job: "Job") -> int:
    candidates = job.candidates
    totals = isinstance(candidates, FullScan) and candidates.totals
    return totals * len(job.plan.record.shards()) * len(job.train_texts) * BYTES_A_SUM


def _text_bytes(job: "Job", there: Collection[str]) -> int:
    inputs = job.plan.inputs
    tables = (inputs.queries,) if "train" in there else (inputs.train, inputs.queries)
    texts = [text for table in tables for text in (*table.texts, *(table.text_pairs or []))]
    return sum(len(text) for text in texts) // 2  # zstd about halves short texts
