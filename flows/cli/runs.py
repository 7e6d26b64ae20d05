"""The command `fastif runs`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.cli.common import open_study, print_line
from flows.cli.next_step import (
    name_main_command,
    name_run_option,
    print_comparison,
    print_next,
)
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from storage import RunStatus

app = typer.Typer()

HEAD = ("run", "state", "shards", "queries", "training rows", "opened")
FINISHED, UNFINISHED, DAMAGED = "finished", "unfinished", "damaged"


@app.command()
@takes_study
def runs(study: Path = DEFAULT_STUDY) -> None:
    """List the runs in a study's store with their state, the newest first.

    finished: all results are there. unfinished: shards, or the last step after them, are missing;
    fastif audit continues. damaged: files of a finished run are missing; fastif verify names them.
    """
    loaded, store = open_study(study)
    statuses = store.list_runs()
    if not statuses:
        print_line("No runs yet.")
        print_next(name_main_command(loaded), study=study)
        return
    for line in _align([HEAD, *map(_describe, statuses)]):
        print_line(line)  # names are for other commands, so they are never cut or wrapped
    _print_next_step(statuses, study)


def _describe(status: "RunStatus") -> tuple[str, ...]:
    record = status.record
    opened = record.created[:16].replace("T", " ")
    counts = (f"{status.done}/{status.planned}", f"{record.query_rows}", f"{record.train_rows}")
    return (record.run, _describe_state(status), *counts, opened)


def _align(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of a table as wide as its cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _describe_state(status: "RunStatus") -> str:
    if status.is_damaged:
        return DAMAGED
    return FINISHED if status.finished else UNFINISHED


def _print_next_step(statuses: "list[RunStatus]", study: Path) -> None:
    """Print the command for the newest run, and for a comparison with the one before."""
    if _describe_state(statuses[0]) == UNFINISHED:
        print_next("audit", *name_run_option(statuses[0].record), study=study)
    else:
        print_comparison(statuses, study, "report")
