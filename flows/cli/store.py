"""The commands that look after a store: `fastif diff`, `verify`, `gc`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import (
    RunOption,
    StudyOption,
    err,
    open_study,
    out,
    report_errors,
)

app = typer.Typer()

UNFINISHED = 3
"""Exit code of a store that is sound but not finished, as of an audit that a deadline ended."""


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="The earlier run.")],
    after: Annotated[str, typer.Argument(help="The later run.")],
    study: StudyOption = Path("study.toml"),
    k: Annotated[int, typer.Option("-k", min=1, help="Worst rows of a run that count.")] = 100,
) -> None:
    """Show what became harmful from one run to another, and what stopped being so.

    Also by slice and source, and whether the two runs may be compared at all.
    """
    with report_errors():
        from tasks.results.compare_runs import diff_runs
        from tasks.terminal.diff import render_difference

        _, store = open_study(study)
        out.print(render_difference(diff_runs(store, before, after, k), before, after))


@app.command()
def up(
    study: StudyOption = Path("study.toml"),
    port: Annotated[int, typer.Option(help="Of the Prefect server, on loopback.")] = 4200,
) -> None:
    """Start what nightly audits need: a Prefect server, a worker, the deployments.

    With PREFECT_API_URL set nothing is started; the deployments are applied to that server.
    """
    with report_errors():
        from flows.local_service import start_service as start
        from tasks.study.study import load_study

        load_study(study)
        for step in start(study, port):
            out.print(step, highlight=False, markup=False, soft_wrap=True)


@app.command()
def down() -> None:
    """Stop what `fastif up` started, and nothing else."""
    from flows.local_service import stop_service as stop

    stopped = stop()
    names = ", ".join(stopped) if stopped else "nothing that `fastif up` started is at work"
    out.print(f"Stopped: {names}." if stopped else f"There is {names}.", highlight=False)


@app.command()
def verify(
    study: StudyOption = Path("study.toml"),
    run: RunOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Take damaged commits back.")] = False,
) -> None:
    """Read every byte of the store again: sizes, digests, row counts, runs that lack a shard.

    Ends with code 1 if anything is wrong, with 3 if all is sound but a run is not finished. With
    --repair the next audit computes again what is damaged; verdicts of people are never removed.
    """
    with report_errors():
        from tasks.results.integrity import check_integrity, repair_artifacts, repair_run

        _, store = open_study(study)
        wrong = unfinished = 0
        for item in check_integrity(store, run):
            out.print(f"{item.name}: {item.state}", markup=False, highlight=False, soft_wrap=True)
            for problem in item.problems:
                err.print(f"  {problem}", markup=False, highlight=False, soft_wrap=True)
            wrong += len(item.problems)
            unfinished += item.unfinished
            if repair and item.problems:
                outcome = repair_run(store, item) if item.run else repair_artifacts(store, item)
                out.print(f"  {outcome}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if wrong else UNFINISHED if unfinished else 0)


@app.command()
def gc(
    study: StudyOption = Path("study.toml"),
    keep_runs: Annotated[
        int | None, typer.Option(min=1, help="Forget runs but for so many of the newest.")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Forget only runs that are so many days old.")
    ] = None,
    parts_unused: Annotated[
        float | None,
        typer.Option(min=0, help="Remove indices, factors and the like unused for so many days."),
    ] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="First make one file a table of finished runs.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove what a store needs no more.

    Without options these are leftovers of killed processes and files that were replaced, a day old
    or more. No run is forgotten unless you say which; the newest finished one never is.
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
