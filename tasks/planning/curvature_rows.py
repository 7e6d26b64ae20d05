"""Rule for the number of curvature rows of a study that leaves it open."""

from dataclasses import replace

from tasks.planning.workload import make_solver_problem
from tasks.run.context import RunContext
from tasks.run.rows_selection import RowsSelection
from tasks.study.durations import format_duration

LIMIT_SECONDS = 240.0
"""Largest nominal time of the factor and of all solves with the selected rows."""
MIN_ROWS = 256
"""Least number of sampled rows, at any cost."""
NOMINAL_FLOPS = {"cpu": 5e10, "cuda": 5e12}
"""Floating-point operations a second: of two idle cores, and of a GPU.

Nominal and not measured, so that load and machine do not change the selection.
"""
FLOPS_PER_TOKEN = 4
"""Operations of a per-example gradient, by token and attributed parameter, at the rate of a
product."""


def select_rows(context: RunContext) -> RowsSelection:
    """Select all rows, or the largest power of two of them, within the nominal time limit.

    Only the exact dual solver is restricted, since the time and memory of its Gram matrix grow
    quadratically with the rows; a leverage correction that is set needs all rows. The selection
    does not depend on measured times.
    """
    train = len(context.train_texts)
    problem = make_solver_problem(context)
    all_rows = replace(problem, rows=train)
    is_linear = not context.solver.estimate_cost(all_rows).factor_products
    if is_linear or context.study.curvature.leverage == "on":
        return RowsSelection(None, train)
    seconds = estimate_nominal_seconds(context, train)
    if seconds <= LIMIT_SECONDS or train <= MIN_ROWS:
        return RowsSelection(None, train)
    rows = 1 << (train - 1).bit_length() - 1
    while rows > MIN_ROWS and estimate_nominal_seconds(context, rows) > LIMIT_SECONDS:
        rows //= 2
    reason = (
        f"Factor and solves with all {train:,} rows would take about {format_duration(seconds)} on "
        "two idle cores."
    )
    return RowsSelection(rows, train, reason)


def estimate_nominal_seconds(context: RunContext, rows: int) -> float:
    """Estimate the time of the factor and of all solves at nominal rates."""
    problem = replace(make_solver_problem(context), rows=rows)
    cost = context.solver.estimate_cost(problem)
    shards = len(context.plan.record.list_shards())
    examples = cost.factor_examples + shards * cost.solve_examples
    tokens = float(context.train_texts.lengths.double().mean())
    operations = examples * problem.rows_per_example * FLOPS_PER_TOKEN * tokens
    operations += 2 * cost.factor_products
    device = context.objective.like.device.type
    flops = NOMINAL_FLOPS.get(device, NOMINAL_FLOPS["cpu"])
    return len(context.members) * operations * problem.parameters / flops
