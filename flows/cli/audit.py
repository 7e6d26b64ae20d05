"""The command that attributes every query: `fastif audit`."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from flows.cli.common import (
    StudyFile,
    err,
    out,
    report_errors,
)

if TYPE_CHECKING:  # heavy imports wait until a command needs them
    from flows.executor_config import AnyExecutorConfig
    from tasks.run.spec import RunPlan

UNFINISHED = 3
"""Exit code of an audit that a deadline ended; a mistake's is 2, of a failure 1."""


def audit(
    study: StudyFile,
    run: Annotated[
        str | None, typer.Option("--run", "-r", help="Name of the run; by content if not given.")
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="threads, dask, dask:WORKERS, or a scheduler's address (tcp://...)."),
    ] = "threads",
    within: Annotated[
        float | None,
        typer.Option(min=0.1, help="Minutes; no shard begins that would not end in time."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and forecast the cost; no writing.")
    ] = False,
) -> None:
    """Attribute every query to the training examples that helped or harmed it.

    Kill it and run it again: everything committed is kept, only the rest is computed. Ends with
    code 3 if --within left shards for the next start.
    """
    with report_errors():
        from flows.executor_config import parse_executor
        from tasks.run.spec import plan_run

        executor = parse_executor(engine)
        plan = plan_run(study, run)
        if dry_run:
            _print_forecast(plan)
            return
        from tasks.run.spec import find_finished_run

        changes: list[str] = []
        if (finished := find_finished_run(plan)) is not None:
            from tasks.results.provenance_since import find_changes_since

            changes = list(find_changes_since(finished, plan))
        else:
            _run_flow(study, plan, run, executor, within)
        _print_summary(study, plan)
        for line in changes:
            out.print(line, style="bold red", markup=False, highlight=False, soft_wrap=True)


def _run_flow(
    study: Path,
    plan: "RunPlan",
    run: str | None,
    executor: "AnyExecutorConfig",
    within: float | None,
) -> None:
    """Compute what is missing of a run; ends the process where a deadline or a signal did."""
    from tasks.planning.open_run import validate_run

    validate_run(plan)  # what can be refused at once need not wait for Prefect
    _announce_prefect()
    from flows.audit import audit as flow
    from flows.shard_scheduler import UnfinishedError

    try:
        flow(str(study.resolve()), run, executor, within)
    except UnfinishedError as error:
        err.print(f"\n{error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(128 + error.signal if error.signal else UNFINISHED) from None


def _print_summary(study: Path, plan: "RunPlan") -> None:
    """What a finished run says, which is the current one from here on."""
    from storage import StoreError
    from tasks.results.summary import read_summary
    from tasks.run.spec import find_finished_run
    from tasks.terminal.audit import render_summary

    store = find_finished_run(plan)
    assert store is not None
    with suppress(StoreError):  # a store that this user may only read
        store.make_current(plan.record.run)
    out.print(render_summary(read_summary(store, plan.record.run, study)))


def _announce_prefect() -> None:
    """Say what the pause is, and let Ctrl-C and a polite kill end it at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_now)
    if not os.environ.get("PREFECT_API_URL"):
        err.print("Starting Prefect (no server is configured, so a temporary one) ...", style="dim")


def _exit_now(number: int, _frame: object) -> NoReturn:
    """End now: what is committed is whole, and Prefect would wait for the shard in work."""
    from prefect.server.api.server import SubprocessASGIServer

    for server in list(SubprocessASGIServer._instances.values()):
        if server.server_process:
            server.server_process.terminate()
    err.print("\nStopped. What was committed is kept; run the same command to go on.")
    os._exit(128 + number)


def _print_forecast(plan) -> None:
    from tasks.models.provenance import list_differences
    from tasks.planning.forecast import forecast_run, render_forecast
    from tasks.planning.open_run import validate_run
    from tasks.planning.start_run import check_disk
    from tasks.run.assemble import get_provenance
    from tasks.run.spec import list_planned_shards

    context = validate_run(plan)
    check_disk(context)
    estimate = forecast_run(context, list_planned_shards(context.plan))
    out.print(render_forecast(estimate, context.plan, list_differences(get_provenance(context))))
