"""Memory model: peak memory of an audit, computed from sizes."""

from fastif.evaluation.retraining_predictor import MAX_GRAM_BATCH_BYTES, MAX_GRAM_ROWS
from fastif.evaluation.row_effects import MAX_CONTROL_QUERIES
from fastif.solvers.cost import FLOAT32_BYTES, estimate_kernel_bytes
from tasks.models.hidden_state_cache import MEGABYTE
from tasks.planning.workload import Workload

BASE_MEMORY = 600 * MEGABYTE
"""Bytes of the process before it computes: Python and its libraries."""


def estimate_peak_memory(workload: Workload) -> int:
    """Return bytes of models, cached hidden states, and the largest working set of a stage."""
    model_bytes = workload.model.tried * workload.model.nbytes
    cache_limit = workload.sizes.prefix_cache_mb * MEGABYTE
    cache_bytes = sum(min(table_bytes, cache_limit) for table_bytes in workload.hidden_bytes)
    working_bytes = max(
        _solve_bytes(workload),
        *(cost.working_bytes for cost in workload.index_costs),
        _gram_bytes(workload),
        _sweep_bytes(workload),
    )
    return BASE_MEMORY + model_bytes + cache_bytes + working_bytes


def _solve_bytes(workload: Workload) -> int:
    """Return the bytes of a solve; sizes above the number of rows do not add to them."""
    if workload.is_unrolled:
        return 0
    cost, sizes, models = workload.solver_cost, workload.sizes, workload.model.count
    train, queries = workload.train.rows, workload.queries.rows
    shard, batch = min(sizes.shard_size, queries), min(sizes.batch_size, max(train, queries))
    rows = cost.vectors_per_query * shard + 2 * batch + (models - 1) * (shard + batch)
    block = 2 * (cost.held_rows + 2 * batch)
    return max(rows, block) * workload.problem.parameters * FLOAT32_BYTES + cost.working_bytes


def _sweep_bytes(workload: Workload) -> int:
    """Return the bytes of a sweep through the training; 0 if there is none."""
    sweep, queries = workload.sweep, min(MAX_CONTROL_QUERIES, workload.queries.rows)
    if sweep is None or (workload.prepared.has_damping and not sweep.is_selected):
        return 0
    if sweep.is_selected:
        queries = max(queries, min(workload.sizes.shard_size, workload.queries.rows))
    return sweep.estimate_bytes(workload.problem.parameters, queries, workload.sizes.batch_size)


def _gram_bytes(workload: Workload) -> int:
    """Return the bytes of the kernel matrix with which the damping is selected."""
    if workload.prepared.has_damping:
        return 0
    rows = min(MAX_GRAM_ROWS, workload.problem.factor_rows)
    queries = min(MAX_CONTROL_QUERIES, workload.queries.rows)
    # effects and cosines of every row, for each model that is tried, and effects by EK-FAC
    matrices = 2 * workload.model.tried + workload.model.tries_ekfac
    effects = matrices * queries * workload.train.rows * FLOAT32_BYTES
    kernel = estimate_kernel_bytes(rows, workload.problem.parameters, MAX_GRAM_BATCH_BYTES)
    return kernel + (effects if workload.training_epochs else 0)
