"""Cost of measuring the agreement of a sampled curvature, and the time it may take."""

from fastif.solvers.settings import DualSettings
from tasks.planning.calibration import Rates, get_rates
from tasks.planning.workload import make_solver_problem
from tasks.run.context import RunContext
from tasks.run.hidden_states import compute_recomputed_share
from tasks.run.stored_agreement import read_agreement
from tasks.study.durations import format_duration, parse_duration

SHARE = 0.15
"""Share of the rest of an audit that the measurement may add to it, without a budget."""
QUICK_SECONDS = 10.0
"""Time that the measurement may always take without a budget."""
DEFAULT_BUDGET = 900.0
"""Seconds that stand for the budget of a study without one."""
QUERIES = 8
"""Number of control queries."""
MIN_PASSES = 3
"""Least number of passes over all rows that a reference needs."""
USUAL_PASSES = 4
"""Number of passes that a forecast assumes."""
MAX_PASSES = 8
"""Largest number of passes over all rows; more are not needed for the accuracy of a check."""


def is_measurable(context: RunContext) -> bool:
    """Return whether the agreement of the run's curvature can be measured."""
    study, train = context.study, len(context.train_examples)
    is_sampled = (study.curvature.sample_size or train) < train
    is_exact = isinstance(study.solver, DualSettings) and study.solver.rank is None
    is_exact = is_exact and context.ekfac_choice is None and not context.has_sketch_scores
    return (
        is_sampled and is_exact and context.plan.lineage is None and len(context.query_examples) > 0
    )


def estimate_agreement_seconds(context: RunContext, rest: float) -> float:
    """Estimate the time of the measurement that an audit makes; 0 if it makes none.

    Args:
        context: Context of the run.
        rest: Forecast time of all other stages, in seconds.
    """
    if not is_measurable(context) or count_affordable_passes(context, rest) < MIN_PASSES:
        return 0.0
    if read_agreement(context) is not None:
        return 0.0
    passes = min(USUAL_PASSES, count_affordable_passes(context, rest))
    return passes * _estimate_pass_seconds(context)


def count_affordable_passes(context: RunContext, rest: float) -> int:
    """Return the number of passes over all rows for which there is time.

    Args:
        context: Context of the run.
        rest: Time of all other stages, in seconds.
    """
    allowed, _ = _find_allowance(context, rest)
    return min(MAX_PASSES, int(allowed / _estimate_pass_seconds(context)))


def describe_cost(context: RunContext, rest: float) -> str:
    """Return the reason why the measurement is skipped.

    Args:
        context: Context of the run.
        rest: Time of all other stages, in seconds.
    """
    allowed, reason = _find_allowance(context, rest)
    cost = format_duration(MIN_PASSES * _estimate_pass_seconds(context))
    return f"it would take about {cost}, and {format_duration(allowed)} are left for it: {reason}"


def _find_allowance(context: RunContext, rest: float) -> tuple[float, str]:
    """Return the seconds that the measurement may take, and the reason.

    The planner's selection is measured in the time that the audit leaves of its budget, or of 15
    minutes. Rows that the study sets were selected by the user, so the measurement is short next to
    the audit.
    """
    selection = context.plan.selection
    if selection is not None:
        budget = parse_duration(selection.budget) or 0.0
        return max(0.0, budget - rest), f"what the audit leaves of {selection.budget}"
    share = max(QUICK_SECONDS, SHARE * rest)
    left = DEFAULT_BUDGET - rest
    if context.plan.rows is not None and left > share:
        return left, f"what the audit leaves of {format_duration(DEFAULT_BUDGET)}"
    fraction = f"{SHARE:.0%}".replace("%", " %")
    is_share = share > QUICK_SECONDS
    return share, f"{fraction} of the audit" if is_share else "the least time for it"


def _estimate_pass_seconds(context: RunContext) -> float:
    """Estimate the time of one pass over all rows, with two over the sample for the next one."""
    problem = make_solver_problem(context)
    rates: Rates = get_rates(context).with_prefix(compute_recomputed_share(context))
    examples = (problem.train + 2 * problem.rows) * problem.rows_per_example
    queries = min(QUERIES, len(context.query_examples))
    return examples * (rates.gradient + 2 * queries * rates.product)
