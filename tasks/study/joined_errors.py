"""Joined errors: the problems of several inputs in one error, instead of one at a time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastif import InputError
from tasks.study.errors import Problem, StudyError


def call_all(file: Path, *calls: Callable[[], Any]) -> list[Any]:
    """Call functions that read inputs, all of them even if one fails, and return their results.

    Args:
        file: Study file, named by an error that joins several.
        calls: Functions without arguments.

    Raises:
        StudyError, InputError: The only error as it was raised, or the problems of all errors.
    """
    results: list[Any] = []
    errors: list[StudyError | InputError] = []
    for call in calls:
        try:
            results.append(call())
        except (StudyError, InputError) as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise StudyError(file, _list_problems(file, errors))
    return results


def _list_problems(file: Path, errors: Sequence[StudyError | InputError]) -> list[Problem]:
    problems: dict[Problem, None] = {}
    for error in errors:
        if isinstance(error, InputError):
            problems[Problem(error.where, error.expected, error.got, error.remedy)] = None
            continue
        for problem in error.problems:
            place = "" if error.file == str(file) else f"{error.file}, "
            where = f"{place}{problem.where}"
            problems[Problem(where, problem.expected, problem.got, problem.remedy)] = None
    return list(problems)
