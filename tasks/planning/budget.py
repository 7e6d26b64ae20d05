"""Selection of settings within the time budget of a study, by forecast."""

import math
from collections.abc import Sequence

from fastif import InputError
from tasks.planning.options import estimate_options, rank_option, select_option
from tasks.run.budget_selection import BudgetSelection, Option
from tasks.run.context import RunContext
from tasks.study.durations import format_duration

FORECAST_SHARE = 0.85
"""Share of the budget that the forecast may use; the rest is for the measured agreement."""
SHOWN = 5
"""Number of other settings that are recorded."""


def select_for_budget(context: RunContext) -> BudgetSelection:
    """Select the most accurate settings that are forecast to finish within the budget.

    Raises:
        InputError: No settings fit; the message names the cheapest and its time.
    """
    run = context.plan.study_as_written.run
    budget, seconds = run.budget, run.budget_seconds
    assert budget is not None
    assert seconds is not None
    options = estimate_options(context)
    option = select_option(options, FORECAST_SHARE * seconds)
    if option is None:
        raise _make_nothing_fits_error(context, options, budget)
    reason = f"These are the most accurate settings that are forecast to fit into {budget}."
    if option.settings.candidates.has_sketch_scores:
        reason += " Scores are approximate, since no exact ones fit."
    others = sorted((o for o in options if o is not option and not o.lacks), key=rank_option)
    return BudgetSelection(budget, option, reason, tuple(map(str, others[:SHOWN])))


def _make_nothing_fits_error(
    context: RunContext, options: Sequence[Option], budget: str
) -> InputError:
    available = [option for option in options if not option.lacks]
    if not available:
        reasons = "; ".join(dict.fromkeys(option.lacks for option in options))
        remedy = "Raise [run] memory_gb, free some space, or attribute fewer parameters."
        return InputError("[run] budget", "settings that fit into memory and disk", reasons, remedy)
    cheapest = min(available, key=lambda option: option.seconds)
    minutes = math.ceil(cheapest.seconds / FORECAST_SHARE / 60)
    remedy = f'Set budget = "{minutes}min", or attribute fewer parameters.'
    free = [option for option in estimate_options(context, is_free=True) if not option.lacks]
    quicker = min(free, key=lambda option: option.seconds)
    if quicker.seconds < cheapest.seconds and quicker.keys:
        lines = " and ".join(quicker.keys)
        remedy += f" Or let more vary: {lines} takes about {format_duration(quicker.seconds)}."
    return InputError(
        "[run] budget",
        f"at least {minutes}min, for the cheapest settings: {cheapest}",
        budget,
        remedy,
    )
