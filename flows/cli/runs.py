"""The command `fastif runs`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.cli.common import err, open_study, out, print_line
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


@app.command()
@takes_study
def runs(study: Path = DEFAULT_STUDY) -> None:
    """List the runs in a study's store with their state and numbers, the newest first.

    finished: all results are there. unfinished: shards, or the last step after them, are missing;
    fastif audit continues. damaged: files of a finished run are missing; fastif verify names them.

    accuracy: of the queries, with their number. worst slice: of 10 queries or more, the lowest
    upper confidence bound. recall: of the candidates, the lowest measured; all: every row was
    scored. wrong labels: by an annotated random sample, in the newest fastif mislabels among
    exactly the run's training rows. A narrow terminal shows fewer columns.
    """
    from tasks.results.run_numbers import read_run_numbers
    from tasks.terminal.runs import render_runs

    loaded, store = open_study(study)
    statuses = store.list_runs()
    if not statuses:
        print_line("No runs yet.")
        print_next(name_main_command(loaded), study=study)
        return
    for line in render_runs(statuses, read_run_numbers(store, statuses, _warn), out.width):
        print_line(line)  # names are for other commands, so they are never cut or wrapped
    _print_next_step(statuses, study)


def _warn(note: str) -> None:
    err.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _print_next_step(statuses: "list[RunStatus]", study: Path) -> None:
    """Print the command for the newest run, and for a comparison with the one before."""
    from tasks.terminal.runs import UNFINISHED, describe_state

    if describe_state(statuses[0]) == UNFINISHED:
        print_next("audit", *name_run_option(statuses[0].record), study=study)
    else:
        print_comparison(statuses, study, "report")
