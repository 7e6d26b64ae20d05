"""The study of a command: the same optional argument, option and variable for all of them."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.common import report_errors
from tasks.study.command_lines import DEFAULT_STUDY

VARIABLE = "FASTIF_STUDY"
"""Environment variable with the path of the study file."""

_ARGUMENT = Annotated[
    Path | None,
    typer.Argument(metavar="STUDY", help="The study file (TOML); study.toml here by default."),
]
_OPTION = Annotated[
    Path | None,
    typer.Option("--study", "-s", help="The study file, instead of STUDY.", envvar=VARIABLE),
]


def takes_study(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the study to a command with the parameter `study`, and report the errors of the command.

    The study is the last argument, or `--study`, or the environment variable, or study.toml here.
    An optional name of a run before it is taken for the study if it ends in .toml; also if it is a
    file and nothing else names a study.
    """
    signature = inspect.signature(command)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("study", keyword, default=None, annotation=_ARGUMENT)
        if parameter.name == "study"
        else parameter.replace(kind=keyword)
        for parameter in signature.parameters.values()
    ]
    parameters += [
        inspect.Parameter("study_option", keyword, default=None, annotation=_OPTION),
        inspect.Parameter("context", keyword, annotation=typer.Context),
    ]
    default = signature.parameters["study"].default
    is_run_first = next(iter(signature.parameters)) == "run"

    @wraps(command)
    def wrapped(
        *, context: typer.Context, study: Path | None, study_option: Path | None, **values: Any
    ) -> Any:
        with report_errors():
            if is_run_first:
                has_other = study_option is not None or DEFAULT_STUDY.exists()
                values["run"], study = _tell_apart(values["run"], study, has_other)
            source = context.get_parameter_source("study_option")
            is_typed = source is not None and source.name == "COMMANDLINE"
            chosen = _choose_study(study, study_option, is_typed)
            if chosen is None:
                chosen = DEFAULT_STUDY if DEFAULT_STUDY.exists() else default
            if default is not None:
                from tasks.study.study import load_study

                load_study(chosen)  # a faulty study is refused before anything slow is imported
            return command(study=chosen, **values)

    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return wrapped


def _tell_apart(
    first: str | None, second: Path | None, has_other: bool
) -> tuple[str | None, Path | None]:
    """Tell the name of a run and the path of a study apart, in whichever order they are given.

    Args:
        first: First argument.
        second: Second argument.
        has_other: Whether an option, a variable or the default names a study.
    """
    if first is None or not _is_study(Path(first), second, has_other):
        return first, second
    return None if second is None else str(second), Path(first)


def _is_study(first: Path, second: Path | None, has_other: bool) -> bool:
    if first.suffix == ".toml":
        return True
    if second is not None:
        has_other = second.suffix == ".toml" or second.is_file()
    return first.is_file() and not has_other  # a file may have the name of a run


def _choose_study(argument: Path | None, option: Path | None, is_typed: bool) -> Path | None:
    """Choose between the argument and the option; None if neither is given.

    Raises:
        InputError: argument and option name two studies; the variable gives way to the argument.
    """
    if argument is None:
        return option
    if is_typed and option is not None and option.absolute() != argument.absolute():
        from fastif import InputError

        raise InputError(
            "STUDY and --study", "one study", f"{argument} and {option}", "Leave one of them out."
        )
    return argument
