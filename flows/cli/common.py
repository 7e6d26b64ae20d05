"""Shared parts of the commands: consoles, error handling and common options."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.completion import complete_runs
from flows.terminal import InertConsole

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from storage import Store
    from tasks.study.study import Study

# Without emoji: a path or an id such as `:cat:` is printed as it is.
out, err = InertConsole(emoji=False), InertConsole(stderr=True, emoji=False)

RUN_NAMES = "A short beginning of the name or of its hash will do, also `latest` and `previous`."
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        "-r",
        help=f"Name of the run; the newest by default. {RUN_NAMES}",
        autocompletion=complete_runs,
    ),
]


def print_line(text: str, style: str | None = None) -> None:
    """Print a text as it is, without markup; lines are not wrapped, so that they can be copied."""
    out.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def report_errors() -> Iterator[None]:
    """Print errors as messages: exit code 2 for user errors, also from libraries, else 1.

    The environment variable FASTIF_TRACEBACK adds the traceback.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except BaseException as error:  # imports take time, which only an error needs
        from tasks.runtime.foreign_errors import (
            LIBRARY_ERRORS,
            TRACEBACK_VARIABLE,
            format_error,
            to_input_error,
        )
        from tasks.runtime.retries import USER_ERRORS

        if not isinstance(error, LIBRARY_ERRORS):
            raise
        is_user_error = isinstance(error, USER_ERRORS) or to_input_error(error) is not None
        if not isinstance(error, USER_ERRORS):
            from tasks.runtime.last_error import record_error

            record_error(error)
        if os.environ.get(TRACEBACK_VARIABLE):
            traceback.print_exc()
        err.print("[bold red]Refused.[/]" if is_user_error else "[bold red]Failed.[/]", end=" ")
        err.print(format_error(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2 if is_user_error else 1) from None


def open_study(study: Path) -> "tuple[Study, Store]":
    """Load a study and open its store for reading."""
    from tasks.run.existing_store import open_existing_store
    from tasks.study.study import load_study

    loaded = load_study(study)
    return loaded, open_existing_store(loaded)


def resolve_run(store: "Store", run: str | None) -> str:
    """Name of the given run, or of the newest one; print a note if it is not finished."""
    from tasks.run.lookup import check_undamaged, find_latest_run
    from tasks.run.run_names import resolve_run_name

    name = check_undamaged(store, resolve_run_name(store, run)) if run else find_latest_run(store)
    status = store.read_status(name)
    if not status.finished:
        note = f"Run {name} is not finished: {status.done} of {status.planned} shards exist."
        err.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return name
