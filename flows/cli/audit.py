"""The command `fastif audit`."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import (
    err,
    out,
    print_line,
    report_errors,
)
from flows.cli.next_step import print_next
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from flows.executor_config import AnyExecutorConfig
    from tasks.run.spec import RunPlan

UNFINISHED = 3
"""Exit code of an audit that the time budget ended; 2 is a user error, 1 a failure."""


Within = Annotated[
    float | None,
    typer.Option(
        min=0.1, help="Stop after these minutes: no shard is started that would not finish."
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="Plan for a time such as 20min: settings that are left open are chosen to fit."
    ),
]


@takes_study
def audit(
    study: Path = DEFAULT_STUDY,
    run: Annotated[
        str | None,
        typer.Option("--run", "-r", help="Name of the run; a hash of all inputs by default."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="Executor: threads, dask, dask:WORKERS, or an address tcp://..."),
    ] = "threads",
    within: Within = None,
    budget: Budget = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate and forecast the cost; writes nothing.")
    ] = False,
) -> None:
    """Compute the removal effects of training examples on every query.

    Results are committed shard by shard: after an interruption the same command continues. The
    exit code is 3 if --within left shards for the next start.

    --within stops an audit; --budget plans it, and overrides budget of [run].
    """
    with report_errors():
        from flows.executor_config import parse_executor

        executor = parse_executor(engine)
        # The flow plans by the absolute path; under another path it would load the model again.
        absolute = study.resolve()
        plan = _plan(absolute, run, budget)
        if dry_run:
            print_forecast(plan)
            print_next("audit", *_repeat_options(run, budget), study=study)
            return
        from tasks.run.spec import find_finished_run

        changes: list[str] = []
        if (finished := find_finished_run(plan)) is not None:
            from tasks.results.provenance_since import find_changes_since

            changes = list(find_changes_since(finished, plan))
        else:
            _run_flow(absolute, plan, run, executor, within, budget)
            plan = _plan(absolute, run, budget)  # another process may have selected first
        _print_summary(study, plan)
        for line in changes:
            out.print(line, style="bold red", markup=False, highlight=False, soft_wrap=True)


def _plan(study: Path, run: str | None, budget: str | None) -> "RunPlan":
    """Plan the run; models are loaded only if no earlier run has settled its settings."""
    from fastif import InputError
    from tasks.run.spec import plan_run
    from tasks.study.durations import parse_duration

    if budget is not None and parse_duration(budget) is None:
        expected = "a duration with its unit, such as 20min, 90s, 2h or 1h30min"
        raise InputError("--budget", expected, budget, "Write for example --budget 20min.")
    plan = plan_run(study, run, budget)
    if plan.is_settled:
        return plan
    from tasks.planning.open_run import settle_plan

    return settle_plan(plan)


def _repeat_options(run: str | None, budget: str | None) -> list[str]:
    """Return the options of this command that the next one needs too."""
    options = {"--run": run, "--budget": budget}
    return [part for name, value in options.items() if value for part in (name, value)]


def _run_flow(
    study: Path,
    plan: "RunPlan",
    run: str | None,
    executor: "AnyExecutorConfig",
    within: float | None,
    budget: str | None,
) -> None:
    """Compute the missing shards of a run; exit if a time budget or a signal stopped it."""
    from flows.temporary_server import temporary_server, use_server
    from tasks.planning.open_run import validate_run

    with temporary_server() as server:  # it starts while the model is loaded
        validate_run(plan)
        _warn_of_webhook(plan)
        if server is not None:
            note = "Starting Prefect (a temporary server, since none is configured) ..."
            err.print(note, style="dim")
            use_server(server)
        from flows.audit import audit as flow
        from flows.shard_scheduler import UnfinishedError

        try:
            flow(str(study), run, executor, within, budget)
        except UnfinishedError as error:
            err.print(f"\n{error}", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(128 + error.signal if error.signal else UNFINISHED) from None


def _warn_of_webhook(plan: "RunPlan") -> None:
    """Print a warning if the study asks for alerts that cannot be sent from here."""
    from tasks.results.webhook import find_webhook_problem

    problem = find_webhook_problem(plan.inputs.study.notify)
    if problem:
        line = f"No alerts will be sent: {problem}."
        err.print(line, style="bold red", markup=False, highlight=False, soft_wrap=True)


def _print_summary(study: Path, plan: "RunPlan") -> None:
    """Print the summary of a finished run and make it the current one."""
    from storage import StoreError
    from tasks.results.summary import read_summary
    from tasks.run.spec import find_finished_run
    from tasks.terminal.audit import list_next_commands, render_summary

    store = find_finished_run(plan)
    assert store is not None
    with suppress(StoreError):  # the store may be read-only
        store.make_current(plan.record.run)
    summary = read_summary(store, plan.record.run, study)
    out.print(render_summary(summary))
    print_line(f"Results: {summary.store}")
    print_line("Next commands:")
    for command in list_next_commands(summary):
        print_line(f"  {command}", style="cyan")


def print_forecast(plan: "RunPlan") -> None:
    """Validate a plan and print its forecast; nothing is written."""
    from tasks.models.provenance import list_differences
    from tasks.planning.forecast import forecast_run, render_forecast
    from tasks.planning.open_run import validate_run
    from tasks.planning.options_table import render_options
    from tasks.planning.start_run import check_disk
    from tasks.run.assemble import get_provenance
    from tasks.run.spec import list_planned_shards

    context = validate_run(plan)
    check_disk(context)
    _warn_of_webhook(plan)
    estimate = forecast_run(context, list_planned_shards(context.plan))
    out.print(render_forecast(estimate, context.plan, list_differences(get_provenance(context))))
    if context.study.has_trees:
        return  # which have no options
    table, lines = render_options(context)
    out.print(table)
    for line in lines:
        print_line(line)
