"""Forecast of an audit: the work of each stage, priced at measured rates."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from storage import Shard
from tasks.models.compare_training import TrainingDifference
from tasks.planning.agreement_cost import estimate_agreement_seconds
from tasks.planning.calibration import Rates, get_rates
from tasks.planning.cost_model import DAMPING_STAGE, estimate_sweep_work, estimate_work
from tasks.planning.disk import estimate_disk_usage
from tasks.planning.forecast_record import AGREEMENT_STAGE, Forecast
from tasks.planning.memory import estimate_peak_memory
from tasks.planning.score_precision import describe_unused_precision
from tasks.planning.tree_forecast import forecast_trees
from tasks.planning.workload import Workload, make_workload
from tasks.run.budget_selection import BudgetSelection
from tasks.run.context import RunContext
from tasks.run.estimator_models import describe_checkpoints
from tasks.run.method_choice import describe_method_selection
from tasks.run.spec import RunPlan
from tasks.study.durations import format_duration, parse_duration


def forecast_run(context: RunContext, shards: Sequence[Shard]) -> Forecast:
    """Forecast the computation of these shards and of the artifacts they need."""
    if context.study.has_trees:
        return forecast_trees(context, shards)
    notes = [note for member in context.members for note in member.objective.notes]
    notes += describe_checkpoints(context.study)
    notes += describe_unused_precision(context)
    workload = make_workload(context, shards)
    forecast = forecast_workload(workload, get_rates(context))
    notes += _describe_sweeps(workload, get_rates(context))
    rest = forecast.seconds
    agreement = estimate_agreement_seconds(context, rest) if forecast.shards else 0.0
    stages = forecast.stages | ({AGREEMENT_STAGE: agreement} if agreement else {})
    excess = _describe_excess(context.plan.selection, rest)
    return replace(forecast, stages=stages, notes=tuple(dict.fromkeys(notes)), excess=excess)


def _describe_sweeps(workload: Workload, rates: Rates) -> list[str]:
    """Return a note on the time of the shards if effects through the training are selected."""
    remaining = workload.remaining
    if workload.sweep is None or workload.prepared.has_damping or not remaining.new_shards:
        return []
    work = estimate_sweep_work(workload, remaining.new_shards, remaining.new_queries)
    duration = format_duration(work.estimate_seconds(rates))
    return [f"if effects through the training are selected, the shards take about {duration}"]


def _describe_excess(selection: BudgetSelection | None, seconds: float) -> str:
    """Return a warning if kept settings take longer than their budget; empty if they do not."""
    if selection is None or seconds <= (parse_duration(selection.budget) or 0.0):
        return ""
    return (
        f"above the budget of {selection.budget}, for which an earlier run selected these "
        "settings; another budget selects them anew"
    )


def forecast_workload(workload: Workload, base_rates: Rates) -> Forecast:
    """Forecast a workload at rates that were measured with cached hidden states."""
    rates, rows = base_rates.with_prefix(workload.hidden.recomputed_share), workload.train.rows
    missing, queries = workload.remaining.shards, workload.remaining.queries
    scores_per_query = workload.candidates.count_kept_scores(rows)
    hidden_seconds = workload.hidden.to_compute * base_rates.prefix if missing else 0.0
    stages = {
        name: work.estimate_seconds(rates.of_scores if name == "score" else rates)
        for name, work in estimate_work(workload).items()
    }
    pairs = queries * min(scores_per_query, rows)
    return Forecast(
        shards=missing,
        queries=queries,
        pairs=pairs,
        stages={
            DAMPING_STAGE: stages.pop(DAMPING_STAGE),
            "hidden states": hidden_seconds,
            **stages,
        },
        memory=estimate_peak_memory(workload),
        disk=estimate_disk_usage(workload, pairs) if missing else 0,
        guessed_k=None if workload.prepared.has_k else scores_per_query,
    )


def render_forecast(
    forecast: Forecast, plan: RunPlan, differences: Sequence[TrainingDifference] = ()
) -> RenderableType:
    """Render the forecast for a terminal, with differences of the model's training record."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="bold")
    table.add_column(justify="right")
    record = plan.record
    done = len(record.list_shards()) - forecast.shards
    table.add_row("run", record.run)
    table.add_row("training rows", f"{record.train_rows:,}")
    table.add_row(
        "shards to compute", f"{forecast.shards} of {len(record.list_shards())} ({done} committed)"
    )
    table.add_row("queries to attribute", f"{forecast.queries:,}")
    if plan.sizes:
        table.add_row("sizes", plan.sizes)
    table.add_row("scored pairs", f"{forecast.pairs:,}")
    if plan.rows and plan.rows.reason:
        table.add_row("curvature rows", Text(f"{plan.rows}", justify="left"))
    for name, text in plan.selection.describe() if plan.selection else ():
        table.add_row(name, Text(text, justify="left"))
    for name, text in describe_method_selection(plan.method) if plan.method else ():
        table.add_row(name, Text(text, justify="left"))
    if forecast.guessed_k is not None:
        table.add_row("candidates", f"k is not chosen yet; forecast for k = {forecast.guessed_k:,}")
    for name, seconds in forecast.stages.items():
        table.add_row(f"  {name}", format_duration(seconds))
    table.add_row(
        "time", f"about {format_duration(forecast.seconds)}, plus up to 20 s to start Prefect"
    )
    if forecast.excess:
        table.add_row("budget", Text(forecast.excess, style="bold red", justify="left"))
    for note in forecast.notes:
        table.add_row("model", Text(note, justify="left"))
    table.add_row("peak memory", f"about {forecast.memory / 2**30:.1f} GB")
    for difference in differences:
        table.add_row("training record", Text(f"{difference}", style="bold red", justify="left"))
    table.add_row("written", Text(f"about {forecast.disk / 1e6:.1f} MB to {plan.store_path}"))
    note = "Nothing was written. Times are based on a one-second calibration on your rows."
    return Panel(Group(table, note), title="forecast", title_align="left")
