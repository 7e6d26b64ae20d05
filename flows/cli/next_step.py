"""Last line of a command: the next command, ready to be pasted."""

from collections.abc import Iterable
from os import PathLike

from flows.cli.common import print_line
from tasks.study.command_lines import format_command


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
