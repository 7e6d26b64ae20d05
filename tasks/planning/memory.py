"""The most memory that an audit holds at once, from its sizes; nothing is computed for it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastif.evaluation.select_damping import MAX_GRAM_BATCH_BYTES, MAX_GRAM_ROWS
from fastif.solvers.cost import (
    FLOAT32_BYTES,
    SolverCost,
    SolverProblem,
    estimate_kernel_bytes,
)
from tasks.models.hidden_state_cache import MEGABYTE, count_bytes_per_token
from tasks.study.candidates import SketchSection

if TYPE_CHECKING:  # a job is fitted into memory while it is made
    from tasks.run.context import RunContext

BASE_MEMORY = 600 * MEGABYTE
"""What the process takes before it computes: Python and its libraries."""


@dataclass(frozen=True)
class Sizes:
    """What memory depends on; the keys of `[run]` of the same names."""

    shard_size: int
    batch_size: int
    prefix_cache_mb: int


def get_sizes(job: "RunContext") -> Sizes:
    """Those that a job works with."""
    run = job.study.run
    return Sizes(job.plan.record.shard_size, run.batch_size, run.prefix_cache_mb)


def estimate_peak_memory(job: "RunContext", sizes: Sizes) -> int:
    """Model, hidden states, and the largest of: a solve, a factorisation, choosing the damping."""
    study, p, models = job.study, job.objective.space.size, len(job.members)
    cost = estimate_solver_cost(job)
    model_bytes = models * sum(tensor.nbytes for tensor in job.objective.full_model.parameters())
    cache_bytes = sum(min(table, sizes.prefix_cache_mb * MEGABYTE) for table in hidden_bytes(job))
    # A setting beyond what there is takes no more than what there is.
    train, queries = len(job.train_texts), len(job.query_texts)
    shard, batch = min(sizes.shard_size, queries), min(sizes.batch_size, max(train, queries))
    rows = cost.vectors_per_query * shard + 2 * batch + (models - 1) * (shard + batch)
    block = 2 * (cost.held_rows + 2 * batch)
    working_bytes = max(rows, block) * p * FLOAT32_BYTES + cost.working_bytes
    for method in study.candidates.methods:
        if isinstance(method, SketchSection):
            sketch_bytes = compute_sketch_dimensions(job, method) * FLOAT32_BYTES
            working_bytes = max(
                working_bytes, 4 * sketch_bytes * method.width
            )  # the sketches themselves are mapped
    if job.known_damping is None:
        gram_rows = min(MAX_GRAM_ROWS, count_factor_rows(job))
        gram_bytes = estimate_kernel_bytes(gram_rows, p, MAX_GRAM_BATCH_BYTES)
        working_bytes = max(working_bytes, gram_bytes)
    return BASE_MEMORY + model_bytes + cache_bytes + working_bytes


def hidden_bytes(job: "RunContext") -> tuple[int, int]:
    """Of the hidden states of the training rows and of the queries, all models'; 0 uncut."""
    token_bytes = len(job.members) * count_bytes_per_token(job.objective)
    train, queries = (int(t.lengths.sum()) for t in (job.train_texts, job.query_texts))
    return train * token_bytes, queries * token_bytes


def count_curvature_rows(job: "RunContext") -> int:
    """Training rows that the curvature is taken over."""
    count, rows = len(job.train_texts), job.study.curvature.rows
    return count if rows is None else min(rows, count)


def make_solver_problem(job: "RunContext") -> SolverProblem:
    """The sizes that the cost of the study's solver depends on."""
    return SolverProblem(
        train=len(job.train_texts),
        rows=count_curvature_rows(job),
        rows_per_example=count_rows_per_example(job),
        parameters=job.objective.space.size,
        batch_size=job.study.run.batch_size,
        is_hessian=job.study.curvature.kind == "hessian",
    )


def estimate_solver_cost(job: "RunContext") -> SolverCost:
    """What the study's solver takes of one model, by its own account."""
    return job.study.solver.estimate_cost(make_solver_problem(job))


def count_factor_rows(job: "RunContext") -> int:
    """Root rows of the curvature: softmax has one less than labels for an example."""
    return count_curvature_rows(job) * count_rows_per_example(job)


def compute_sketch_dimensions(job: "RunContext", method: SketchSection) -> int:
    """Length of a sketch: the curvature has no more directions than root rows."""
    return min(method.dimensions, count_factor_rows(job))


def count_rows_per_example(job: "RunContext") -> int:
    """Root rows of one example."""
    return (job.objective.full_model.config.num_labels or 2) - 1
