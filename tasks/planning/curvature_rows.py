"""Rule for the number of curvature rows of a study that leaves it open."""

import math
from dataclasses import replace

import fastif
from fastif.gradients.structured_tile import merge_columns
from fastif.solvers.build import build_solver
from fastif.solvers.settings import DualSettings, reset_sizes
from tasks.planning.workload import make_solver_problem
from tasks.run.context import RunContext
from tasks.run.rows_selection import RowsSelection
from tasks.study.durations import format_duration

LIMIT_SECONDS = 240.0
"""Largest nominal time of the factor and of all solves with the selected rows."""
MIN_ROWS = 256
"""Least number of sampled rows, regardless of the time."""
NOMINAL_FLOPS = {"cpu": 5e10, "cuda": 5e12}
"""Floating-point operations a second: of two idle cores, and of a GPU.

Nominal and not measured, so that load and sizes do not change the selection; it differs between
CPUs and GPUs.
"""
DEVICE_NAMES = {"cpu": "two idle cores", "cuda": "a GPU"}
NOMINAL_BATCH, NOMINAL_SHARD = 32, 64
"""Batch and shard size of the estimate: those of `[run]` change speed and memory only."""
FLOPS_PER_TOKEN = 4
"""Operations of a per-example gradient, by token and attributed parameter, at the rate of a
product."""


def select_rows(context: RunContext) -> RowsSelection:
    """Select all rows, or the largest power of two of them, within nominal time and memory.

    Only the exact dual solver is restricted, since the time and memory of its Gram matrix grow
    quadratically with the rows; a leverage correction that is set needs all rows. The selection
    does not depend on measured times, nor on sizes that change only speed and memory; `memory_mb`
    of the solver, above which it refuses rows, is kept to.
    """
    train = len(context.train_examples)
    problem = make_solver_problem(context)
    all_rows = replace(problem, rows=train)
    is_linear = not context.solver.estimate_cost(all_rows).factor_products
    if is_linear or context.study.curvature.leverage == "on":
        return RowsSelection(None, train)
    has_room, seconds = _has_room(context, train), estimate_nominal_seconds(context, train)
    if has_room and (seconds <= LIMIT_SECONDS or train <= MIN_ROWS):
        return RowsSelection(None, train)
    rows = 1 << (train - 1).bit_length() - 1
    while rows > 1 and not _has_room(context, rows):
        rows //= 2
    while rows > MIN_ROWS and estimate_nominal_seconds(context, rows) > LIMIT_SECONDS:
        rows //= 2
    return RowsSelection(rows, train, _explain(context, train, seconds if has_room else None))


def _has_room(context: RunContext, rows: int) -> bool:
    """Return whether the solver accepts so many rows of the curvature."""
    solver, factor_rows = context.study.solver, rows * make_solver_problem(context).rows_per_example
    is_dual = isinstance(solver, DualSettings)
    return not is_dual or solver.count_megabytes(factor_rows) <= solver.memory_mb


def _explain(context: RunContext, train: int, seconds: float | None) -> str:
    """Return the reason for a sample: the time of all rows, or None if there is no memory."""
    if seconds is None:
        return f"The Gram matrix of all {train:,} rows would exceed [solver] memory_mb."
    device = DEVICE_NAMES[_get_device_kind(context)]
    duration = format_duration(seconds)
    return f"Factor and solves with all {train:,} rows would take about {duration} on {device}."


def estimate_nominal_seconds(context: RunContext, rows: int) -> float:
    """Estimate the time of the factor and of all solves at nominal rates."""
    problem = replace(make_solver_problem(context), rows=rows, batch_size=NOMINAL_BATCH)
    solver = build_solver(reset_sizes(context.study.solver))
    cost = solver.estimate_cost(problem)
    shards = math.ceil(context.plan.record.query_rows / NOMINAL_SHARD)
    examples = cost.factor_examples + shards * cost.solve_examples
    tokens = float(context.train_examples.lengths.double().mean())
    numbers = tokens * problem.parameters
    operations = examples * problem.rows_per_example * FLOPS_PER_TOKEN * numbers
    if cost.factor_products:
        operations += 2 * cost.factor_products * _count_product_size(context)
    return len(context.members) * operations / NOMINAL_FLOPS[_get_device_kind(context)]


def _count_product_size(context: RunContext) -> float:
    """Count the multiplications in the product of two factor rows, by factors where they are held.

    They are those of two training rows of median length.
    """

    def count() -> float:
        examples, objective = context.train_examples, context.objective
        middle = max(0, len(examples) // 2 - 1)
        ids = examples.lengths.argsort(stable=True)[middle : middle + 2]
        batch = objective.compute_prefix(examples.take(ids))
        tiles = fastif.Gradients(objective).compute_sqrt_hessian_tiles(batch)
        return next(merge_columns(tiles)).product_size

    return context.memo.get("product size", count)


def _get_device_kind(context: RunContext) -> str:
    kind = context.objective.like.device.type
    return kind if kind in NOMINAL_FLOPS else "cpu"
