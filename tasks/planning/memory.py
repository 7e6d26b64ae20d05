"""The most memory that an audit holds at once, from its sizes; nothing is computed for it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import fastif
from fastif.evaluation.select_damping import HELD_BYTES, LARGEST_KERNEL
from tasks.study.sections import Sketches

if TYPE_CHECKING:  # a job is fitted into memory while it is made
    from tasks.run.context import Job

MEGABYTE = 2**20
LOADED = 600 * MEGABYTE
"""What the process takes before it computes: Python and its libraries."""
KERNELS = 3
"""Copies of a kernel while it is factorised."""
FLOAT = 4
ROWS_HELD = {"dual": 2, "cg": 6, "lissa": 6, "direct": 2, "spectral": 4}
"""Matrices with a row for each query of a shard, by solver."""


@dataclass(frozen=True)
class Sizes:
    """What memory depends on; the keys of `[run]` of the same names."""

    shard_size: int
    batch_size: int
    prefix_cache_mb: int


def sizes_of(job: "Job") -> Sizes:
    """Those that a job works with."""
    run = job.study.run
    return Sizes(job.plan.record.shard_size, run.batch_size, run.prefix_cache_mb)


def memory(job: "Job", sizes: Sizes) -> int:
    """Model, hidden states, and the largest of: a solve, a factorisation, choosing the damping."""
    study, p, models = job.study, job.objective.space.size, len(job.members)
    model = models * sum(tensor.nbytes for tensor in job.objective.whole.parameters())
    hidden = sum(min(table, sizes.prefix_cache_mb * MEGABYTE) for table in hidden_bytes(job))
    # A setting beyond what there is takes no more than what there is.
    train, queries = len(job.train_texts), len(job.query_texts)
    shard, batch = min(sizes.shard_size, queries), min(sizes.batch_size, max(train, queries))
    rows = ROWS_HELD[study.solver.kind] * shard + 2 * batch + (models - 1) * (shard + batch)
    block = 2 * (min(getattr(study.solver, "block_rows", 0), curvature_rows(job)) + 2 * batch)
    work = max(rows, block) * p * FLOAT + _factor_bytes(job)
    for method in study.candidates.methods:
        if isinstance(method, Sketches):
            each = dimensions_of(job, method) * FLOAT
            work = max(work, 4 * each * method.width)  # the sketches themselves are mapped
    if job.fixed_or_chosen is None:
        work = max(work, _kernel_bytes(min(LARGEST_KERNEL, root_rows(job)), p))
    return LOADED + model + hidden + work


def hidden_bytes(job: "Job") -> tuple[int, int]:
    """Of the hidden states of the training rows and of the queries, all models'; 0 uncut."""
    each = len(job.members) * bytes_a_token(job)
    train, queries = (int(t.lengths.sum()) for t in (job.train_texts, job.query_texts))
    return train * each, queries * each


def bytes_a_token(job: "Job") -> int:
    """Of the hidden state of one token; 0 if no layer is frozen."""
    objective = job.objective
    return objective.hidden_width * objective.like.element_size()


def curvature_rows(job: "Job") -> int:
    """Training rows that the curvature is taken over."""
    count, rows = len(job.train_texts), job.study.curvature.rows
    return count if rows is None else min(rows, count)


def _factor_bytes(job: "Job") -> int:
    """Of a kernel in double precision and its factorisation, or of the rows of a preconditioner."""
    solver, p, rows = job.study.solver, job.objective.space.size, root_rows(job)
    if isinstance(solver, fastif.Dual):
        return KERNELS * 8 * rows * min(rows, solver.rank or rows)
    if not isinstance(solver, fastif.ConjugateGradient | fastif.Lissa):
        return 0
    if solver.preconditioner == "drawn":
        return _kernel_bytes(min(solver.rank, rows), p)
    return 3 * min(solver.rank, p) * p * FLOAT if solver.preconditioner == "eigen" else 0


def _kernel_bytes(rows: int, p: int) -> int:
    """Of a kernel of root rows, and of these rows as far as they are held."""
    return KERNELS * 8 * rows**2 + min(rows * p * FLOAT, HELD_BYTES)


def root_rows(job: "Job") -> int:
    """Root rows of the curvature: softmax has one less than labels for an example."""
    return curvature_rows(job) * columns(job)


def dimensions_of(job: "Job", method: Sketches) -> int:
    """Length of a sketch: the curvature has no more directions than root rows."""
    return min(method.dimensions, root_rows(job))


def columns(job: "Job") -> int:
    """Root rows of one example."""
    return (job.objective.whole.config.num_labels or 2) - 1
