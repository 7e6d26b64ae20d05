"""The commands `fastif diff`, `up`, `down`, `verify` and `gc`."""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import (
    RUN_NAMES,
    err,
    open_study,
    out,
    print_line,
    report_errors,
)
from flows.cli.completion import complete_runs
from flows.cli.next_step import name_main_command, name_run_option, print_next
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from tasks.results.integrity import IntegrityReport

app = typer.Typer()

UNFINISHED = 3
"""Exit code of an intact store with an unfinished run, as for an audit ended by its time budget."""


@app.command()
@takes_study
def diff(
    before: Annotated[
        str,
        typer.Argument(help=f"Name of the earlier run. {RUN_NAMES}", autocompletion=complete_runs),
    ],
    after: Annotated[
        str, typer.Argument(help="Name of the later run.", autocompletion=complete_runs)
    ],
    study: Path = DEFAULT_STUDY,
    k: Annotated[
        int, typer.Option("-k", min=1, help="Number of most harmful rows of a run to compare.")
    ] = 100,
) -> None:
    """Compare two runs: accuracy, queries that were broken or repaired, and most harmful rows.

    Also by slice and source. Effects are compared only as far as the settings of the runs allow.
    """
    with report_errors():
        from tasks.results.compare_runs import diff_runs
        from tasks.run.run_names import resolve_run_name
        from tasks.terminal.diff import render_difference

        _, store = open_study(study)
        before, after = (resolve_run_name(store, name) for name in (before, after))
        out.print(render_difference(diff_runs(store, before, after, k), before, after))
        print_next("report", values=[after], study=study)


@app.command()
@takes_study
def up(
    study: Path = DEFAULT_STUDY,
    port: Annotated[int, typer.Option(help="Port of the Prefect server on 127.0.0.1.")] = 4200,
    pages_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Port of the report pages on 127.0.0.1; that of last time, else a free one from "
            "4280, by default.",
        ),
    ] = None,
) -> None:
    """Start a Prefect server and a worker for nightly audits, and apply the deployments.

    The report pages of the study are shown on the loopback interface, where links in Prefect lead
    to. With PREFECT_API_URL set nothing is started; the deployments are applied to that server.
    """
    with report_errors():
        from flows.local_service import start_service as start
        from flows.page_service import check_page_port, start_pages
        from tasks.study.study import load_study

        load_study(study)
        check_page_port(pages_port)
        for step in chain(start(study, port), start_pages(study, pages_port)):
            print_line(step)
        print_next("down")


@app.command()
def down() -> None:
    """Stop the servers and the worker that `fastif up` started."""
    from flows.local_service import stop_service as stop

    stopped = stop()
    nothing = "Nothing is running from `fastif up`: there is no server and no worker to stop."
    out.print(f"Stopped: {', '.join(stopped)}." if stopped else nothing, highlight=False)
    print_next("up")


@app.command()
@takes_study
def verify(
    study: Path = DEFAULT_STUDY,
    run: Annotated[
        str | None,
        typer.Option("--run", "-r", help="Only this run; all runs and artifacts by default."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Withdraw damaged commits, to compute them again.")
    ] = False,
) -> None:
    """Verify the integrity of a store: checksums of all files, row counts, missing shards.

    The exit code is 1 if anything is damaged, 3 if all is intact but a run is not finished. With
    --repair the next audit recomputes what is damaged; annotations are never removed.
    """
    with report_errors():
        from tasks.results.integrity import (
            check_integrity,
            describe_repair,
            repair_artifacts,
            repair_run,
        )
        from tasks.run.run_names import resolve_run_name

        _, store = open_study(study)
        run = resolve_run_name(store, run) if run else None
        wrong = unfinished = 0
        items = []
        for item in check_integrity(store, run):
            items.append(item)
            out.print(f"{item.name}: {item.state}", markup=False, highlight=False, soft_wrap=True)
            for problem in item.problems:
                err.print(f"  {problem}", markup=False, highlight=False, soft_wrap=True)
            wrong += len(item.problems)
            unfinished += item.unfinished
            if repair and item.problems:
                outcome = repair_run(store, item) if item.run else repair_artifacts(store, item)
                out.print(f"  {outcome}", markup=False, highlight=False, soft_wrap=True)
        for line in () if repair else describe_repair(items):
            err.print(line, markup=False, highlight=False, soft_wrap=True)
        _print_step_after_check(items, run, repair, study)
    raise typer.Exit(1 if wrong else UNFINISHED if unfinished else 0)


def _print_step_after_check(
    items: "list[IntegrityReport]", run: str | None, is_repaired: bool, study: Path
) -> None:
    """Print the command that continues what is unfinished or damaged; `run` was checked alone."""
    loaded, store = open_study(study)
    only = ("--run", run) if run else ()
    damaged = [item for item in items if item.problems]
    runs = [item.run for item in damaged if item.run]
    runs = runs or [item.run for item in items if item.unfinished]
    if damaged and not any(item.is_repairable for item in damaged):
        before = "restore the files from a backup"
        print_next("verify", *only, study=study, before=before)
    elif damaged and not is_repaired:
        print_next("verify", *only, "--repair", study=study)
    elif runs:
        print_next("audit", *name_run_option(store.read_record(runs[0])), study=study)
    else:
        print_next(name_main_command(loaded) if damaged else "runs", study=study)


@app.command()
@takes_study
def gc(
    study: Path = DEFAULT_STUDY,
    keep_runs: Annotated[
        int | None, typer.Option(min=1, help="Delete all runs but this number of newest ones.")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Delete only runs older than this number of days.")
    ] = None,
    parts_unused: Annotated[
        float | None,
        typer.Option(min=0, help="Delete artifacts not used for this number of days."),
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="First merge the files of each finished run's tables.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what is deleted.")] = False,
) -> None:
    """Delete orphaned files and, on request, old runs and unused artifacts.

    Orphaned files are leftovers of killed processes and replaced files, one day old or older. Runs
    are deleted only by the options; the newest finished run never is.
    """
    with report_errors():
        from tasks.results.retention import RetentionPolicy, compact_finished, plan_gc
        from tasks.terminal.gc import render_gc_plan

        _, store = open_study(study)
        compacted = compact_finished(store) if compact and not dry_run else ()
        plan = plan_gc(store, RetentionPolicy(keep_runs, older_than, parts_unused))
        if not dry_run:
            store.remove(plan.files)
        out.print(render_gc_plan(plan, compacted, dry_run))
        if dry_run and plan.files:
            options = {"--keep-runs": keep_runs, "--older-than": older_than}
            options |= {"--parts-unused": parts_unused}
            words = [w for name, v in options.items() if v is not None for w in (name, f"{v}")]
            words += ["--compact"] if compact else []
            print_next("gc", *words, study=study)
        else:
            print_next("runs", study=study)
