"""The command line `fastif`. Heavy imports are made inside the commands."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli import (
    annotators as annotators_commands,
)
from flows.cli import (
    bisect as bisect_commands,
)
from flows.cli import (
    correct as correct_commands,
)
from flows.cli import (
    flip as flip_commands,
)
from flows.cli import (
    mislabels as mislabels_commands,
)
from flows.cli import (
    report as report_commands,
)
from flows.cli import (
    reproduce as reproduce_commands,
)
from flows.cli import (
    runs as runs_commands,
)
from flows.cli import (
    serve as serve_commands,
)
from flows.cli import (
    single_query as single_query_commands,
)
from flows.cli import (
    spans as spans_commands,
)
from flows.cli import (
    store as store_commands,
)
from flows.cli import (
    trees as trees_commands,
)
from flows.cli.audit import audit
from flows.cli.command_group import CommandGroup
from flows.cli.common import (
    RunOption,
    open_study,
    out,
    print_line,
    report_errors,
    resolve_run,
)
from flows.cli.init import init
from flows.cli.next_step import name_main_command, print_next
from flows.cli.study_argument import DEFAULT_STUDY, takes_study
from flows.signals import answer_signals
from tasks.runtime.progress_board import show_command

app = typer.Typer(
    cls=CommandGroup,
    help="Training-data influence for classifiers: which training examples helped or harmed each "
    "prediction, and by how many nats; and which labels are probably wrong. Start with "
    "`fastif init`, or with examples/nli. Terms and names in files are explained in the glossary, "
    "docs/reference/glossary.md.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(correct_commands.app)
app.add_typer(mislabels_commands.app)
app.add_typer(annotators_commands.app)
app.add_typer(spans_commands.app)
app.add_typer(report_commands.app)
app.add_typer(reproduce_commands.app)
app.add_typer(runs_commands.app)
app.add_typer(store_commands.app)
app.add_typer(single_query_commands.app)
app.add_typer(serve_commands.app)
app.add_typer(flip_commands.app)
app.add_typer(bisect_commands.app)
app.add_typer(trees_commands.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        out.print(f"fastif {version('fastif')}", highlight=False)
        raise typer.Exit


@app.callback()
def start(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Silence Prefect's log, which would interrupt progress bars, before Prefect is imported."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    for name in ("FLOW_RUNS", "TASK_RUNS"):  # failures are raised too and would be printed twice
        os.environ.setdefault(f"PREFECT_LOGGING_LOGGERS_PREFECT_{name}_LEVEL", "CRITICAL")


app.command()(init)


@app.command()
@takes_study
def train(study: Path = DEFAULT_STUDY) -> None:
    """Fine-tune the classifier of a study by its section [training]; skipped if it exists."""
    with report_errors():
        from tasks.models.finetune import train_model

        # The plain function: a single step does not need Prefect.
        trained = train_model.fn(str(study.resolve()))
        state = "exists already" if trained.skipped else "trained"
        accuracy = ""
        if trained.accuracy is not None:
            accuracy = f", accuracy on the training rows {trained.accuracy:.1%}"
        out.print(
            f"Model {state}: {trained.folder} (training loss {trained.loss:.3f}{accuracy})",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        if trained.note:
            out.print(trained.note, highlight=False, markup=False, soft_wrap=True)
        print_next("audit", study=study)


app.command()(audit)


@app.command()
@takes_study
def top(
    query_id: Annotated[str, typer.Argument(help="Id of the query.")],
    study: Path = DEFAULT_STUDY,
    run: RunOption = None,
    k: Annotated[
        int, typer.Option("-k", min=1, help="Number of most harmful, and of most helpful rows.")
    ] = 5,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Also split effects by layer; solves the query again."),
    ] = False,
) -> None:
    """Show the most harmful and most helpful training examples of one query."""
    with report_errors():
        from tasks.results.explained_query import explain_query
        from tasks.run.lookup import find_position
        from tasks.terminal.examples import render_explained_query

        _, store = open_study(study)
        name = resolve_run(store, run)
        explained = explain_query(store, name, find_position(store, name, "queries", query_id), k)
        out.print(render_explained_query(explained))
        if layers:
            from tasks.audit.layers import compute_layer_effects
            from tasks.run.spec import plan_run
            from tasks.terminal.audit import render_layers

            out.print(render_layers(compute_layer_effects(plan_run(study, name), explained)))
        for row in (explained.harmful or explained.helpful)[:1]:
            print_next("show", *_name_run(run), values=[row["train_id"]], study=study)


def _name_run(run: str | None) -> tuple[str, ...]:
    return ("--run", run) if run else ()


@app.command()
@takes_study
def show(
    train_id: Annotated[str, typer.Argument(help="Id of the training example.")],
    study: Path = DEFAULT_STUDY,
    run: RunOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of queries.")] = 10,
) -> None:
    """Show one training example and the queries that it affects most."""
    with report_errors():
        from tasks.results.explained_query import trace_example
        from tasks.run.lookup import find_position
        from tasks.terminal.examples import render_trace

        _, store = open_study(study)
        name = resolve_run(store, run)
        row, queries = trace_example(store, name, find_position(store, name, "train", train_id), k)
        out.print(render_trace(row, queries))
        for query in queries[:1]:
            print_next("top", *_name_run(run), values=[query["query_id"]], study=study)


@app.command()
@takes_study
def doctor(
    study: Path | None = None,
    report: Annotated[
        bool,
        typer.Option("--report", help="Print one block for a bug report, without private data."),
    ] = False,
) -> None:
    """Check the installation (versions, FAISS, threads, devices) and a study's model."""
    failed = False
    with report_errors():
        if report:
            from tasks.terminal.bug_report import render_bug_report

            print_line(render_bug_report(study))
            return
        from tasks.terminal.doctor import run_checks

        for check in run_checks(study):
            failed |= not check.passed
            mark = "[green]ok[/]  " if check.passed else "[red]fail[/]"
            out.print(mark, end=" ")
            print_line(f"{check.name}: {check.detail}")
        if study is None:
            print_line("No study was checked: there is no study.toml here, and none was named.")
        if failed:
            print_next("doctor", study=study, before="repair what failed")
        else:
            print_next(*_choose_next(study), study=study)
    raise typer.Exit(2 if failed else 0)


def _choose_next(study: Path | None) -> tuple[str, ...]:
    """Name of the command after a check without faults."""
    from tasks.study.study import load_study

    if study is None:
        return ("init",)
    command = name_main_command(load_study(study))
    return (command, "--dry-run") if command == "audit" else (command,)


def main() -> None:
    """Run the command line; entry point of `fastif`."""
    with answer_signals(sys.argv[1:]), show_command(sys.argv[1:]):
        app()


if __name__ == "__main__":
    sys.exit(main())
