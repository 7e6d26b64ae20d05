"""The most memory that an audit holds at once, from its sizes; nothing is computed for it."""

from dataclasses import dataclass

from fastif.evaluation.select_damping import MAX_GRAM_BATCH_BYTES, MAX_GRAM_ROWS
from fastif.solvers.cost import (
    FLOAT32_BYTES,
    SolverCost,
    SolverProblem,
    estimate_kernel_bytes,
)
from tasks.models.hidden_state_cache import MEGABYTE, count_bytes_per_token
from tasks.run.artifact_keys import index_digests
from tasks.run.context import RunContext
from tasks.run.index_kinds import INDEX_KINDS
from tasks.study.index_cost import IndexCost, IndexProblem, PendingIndex

BASE_MEMORY = 600 * MEGABYTE
"""What the process takes before it computes: Python and its libraries."""


@dataclass(frozen=True)
class Sizes:
    """What memory depends on; the keys of `[run]` of the same names."""

    shard_size: int
    batch_size: int
    prefix_cache_mb: int


def get_sizes(context: RunContext) -> Sizes:
    """Those that a run works with."""
    run = context.study.run
    return Sizes(context.plan.record.shard_size, run.batch_size, run.prefix_cache_mb)


def estimate_peak_memory(context: RunContext, sizes: Sizes) -> int:
    """Model, hidden states, and the largest of: a solve, a factorisation, choosing the damping."""
    p, models = context.objective.space.size, len(context.members)
    cost = estimate_solver_cost(context)
    model_bytes = models * sum(
        tensor.nbytes for tensor in context.objective.full_model.parameters()
    )
    cache_bytes = sum(
        min(table, sizes.prefix_cache_mb * MEGABYTE) for table in hidden_bytes(context)
    )
    # A setting beyond what there is takes no more than what there is.
    train, queries = len(context.train_texts), len(context.query_texts)
    shard, batch = min(sizes.shard_size, queries), min(sizes.batch_size, max(train, queries))
    rows = cost.vectors_per_query * shard + 2 * batch + (models - 1) * (shard + batch)
    block = 2 * (cost.held_rows + 2 * batch)
    working_bytes = max(rows, block) * p * FLOAT32_BYTES + cost.working_bytes
    for method in context.study.candidates.methods:
        index_cost = method.estimate_index_cost(_make_index_problem(context, PendingIndex(0)))
        working_bytes = max(working_bytes, index_cost.working_bytes)
    if context.known_damping is None:
        gram_rows = min(MAX_GRAM_ROWS, count_factor_rows(context))
        gram_bytes = estimate_kernel_bytes(gram_rows, p, MAX_GRAM_BATCH_BYTES)
        working_bytes = max(working_bytes, gram_bytes)
    return BASE_MEMORY + model_bytes + cache_bytes + working_bytes


def hidden_bytes(context: RunContext) -> tuple[int, int]:
    """Of the hidden states of the training rows and of the queries, all models'; 0 uncut."""
    token_bytes = len(context.members) * count_bytes_per_token(context.objective)
    train, queries = (int(t.lengths.sum()) for t in (context.train_texts, context.query_texts))
    return train * token_bytes, queries * token_bytes


def count_curvature_rows(context: RunContext) -> int:
    """Training rows that the curvature is taken over."""
    count, rows = len(context.train_texts), context.study.curvature.rows
    return count if rows is None else min(rows, count)


def make_solver_problem(context: RunContext) -> SolverProblem:
    """The sizes that the cost of the study's solver depends on."""
    return SolverProblem(
        train=len(context.train_texts),
        rows=count_curvature_rows(context),
        rows_per_example=count_rows_per_example(context),
        parameters=context.objective.space.size,
        batch_size=context.study.run.batch_size,
        is_hessian=context.study.curvature.kind == "hessian",
    )


def estimate_solver_cost(context: RunContext) -> SolverCost:
    """What the study's solver takes of one model, by its own account."""
    return context.study.solver.estimate_cost(make_solver_problem(context))


def count_factor_rows(context: RunContext) -> int:
    """Root rows of the curvature: softmax has one less than labels for an example."""
    return count_curvature_rows(context) * count_rows_per_example(context)


def estimate_index_costs(context: RunContext) -> list[IndexCost]:
    """What the index of each method that searches takes, by its own account."""
    costs = []
    methods = context.study.candidates.methods
    for method, digest in zip(methods, index_digests(context), strict=True):
        pending = INDEX_KINDS[method.kind].find_pending(context, method, digest)
        costs.append(method.estimate_index_cost(_make_index_problem(context, pending)))
    return costs


def _make_index_problem(context: RunContext, pending: PendingIndex) -> IndexProblem:
    return IndexProblem(
        train=len(context.train_texts),
        curvature_rows=count_curvature_rows(context),
        factor_rows=count_factor_rows(context),
        embedding_width=context.objective.full_model.config.get_text_config().hidden_size,
        pending=pending,
    )


def count_rows_per_example(context: RunContext) -> int:
    """Root rows of one example."""
    return (context.objective.full_model.config.num_labels or 2) - 1
