"""Command lines that messages suggest: quoted for the shell, with the study in them."""

import shlex
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

DEFAULT_STUDY = Path("study.toml")
"""Study of a command that names none: `study.toml` in the current folder."""


def format_command(
    *words: str, values: Iterable[object] = (), study: str | PathLike[str] | None = None
) -> str:
    """Format a command of fastif so that it can be pasted into a shell.

    >>> format_command("audit", study="my studies/a.toml")
    "fastif audit 'my studies/a.toml'"
    >>> format_command("top", values=["-17"], study="study.toml")
    'fastif top -- -17'

    Args:
        words: Name of the command and its options, in order.
        values: Arguments that are data, such as ids and names of runs.
        study: Path of the study file; omitted from the line if it is `study.toml` here.
    """
    arguments = [str(value) for value in values]
    if study is not None and not is_default_study(study):
        arguments.append(str(study))
    if any(argument.startswith("-") for argument in arguments):
        arguments.insert(0, "--")
    return shlex.join(["fastif", *words, *arguments])


def is_default_study(study: str | PathLike[str]) -> bool:
    """Whether a path is `study.toml` in the current folder."""
    return Path(study).absolute() == DEFAULT_STUDY.absolute()
