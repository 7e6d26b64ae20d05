"""Last line of a command: the next command, ready to be pasted."""

from collections.abc import Iterable, Sequence
from itertools import count
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.common import print_line
from tasks.study.command_lines import format_command

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from storage import RunRecord, RunStatus
    from tasks.study.study import Study


def print_next(
    *words: str,
    values: Iterable[object] = (),
    study: str | PathLike[str] | None = None,
    before: str = "",
) -> None:
    """Print `Next: fastif ...` on one line that is never wrapped.

    Args:
        words: Name of the command and its options, such as `"report"` or `"review", "export"`.
        values: Arguments that are data, such as ids and names of runs.
        study: Path of the study file; omitted from the line if it is `study.toml` here.
        before: Work of the user before the command, in words.
    """
    command = format_command(*words, values=values, study=study)
    step = f"{before}, then: {command}" if before else command
    print_line(f"Next: {step}", style="cyan")


def print_comparison(statuses: "Sequence[RunStatus]", study: Path, *otherwise: str) -> None:
    """Print the comparison with the run before as the next command; of damaged runs their check.

    Args:
        statuses: Runs of the store, the newest first.
        study: Path of the study file.
        otherwise: Next command and its options if there are no two finished runs.
    """
    finished = [status for status in statuses if status.was_finished][:2]
    if any(status.is_damaged for status in finished):
        print_next("verify", study=study)
    elif len(finished) > 1:
        print_next("diff", values=["previous", "latest"], study=study)
    else:
        print_next(*otherwise, study=study)


def name_main_command(study: "Study") -> str:
    """Name of the command that computes what a study is about."""
    return "audit" if study.has_audit else "mislabels"


def name_run_option(record: "RunRecord") -> tuple[str, ...]:
    """Option of `fastif audit` that continues a run; empty if the study determines its name."""
    is_derived = record.run.endswith(record.fingerprint[:10])
    return () if is_derived else ("--run", record.run)


def name_new_file(name: str) -> str:
    """Name of a file that does not exist in the current folder: numbered if this one does."""
    path = Path(name)
    names = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return f"{next(each for each in names if not each.exists()) if path.exists() else path}"
