"""Argument names in messages: options of `fastif init` become arguments of `fastif.audit`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

from fastif import InputError
from tasks.study.errors import Problem, StudyError

NAMES = (
    (r"--labels-order\b", "labels="),
    (r"; tables without texts are searched for wrong labels without MODEL", ""),
    (r"--(text|label|id|groups) COLUMN, twice", r"\1=, a list of two"),
    (r"--(text|label|id|groups)\b(?: COLUMN)?", r"\1="),
    (r" Without one, leave MODEL out: wrong labels are found without a model\.", ""),
    (r"\bMODEL\b", "model"),
)
"""Patterns of options and their names in Python."""


@contextmanager
def rename_arguments() -> Iterator[None]:
    """Name the arguments of `fastif.audit` in the errors of the block.

    Raises:
        InputError, StudyError: The error with other names.
    """
    try:
        yield
    except InputError as error:
        parts = (error.where, error.expected, error.got, error.remedy)
        raise InputError(*map(rename, parts)) from error
    except StudyError as error:
        problems = [
            Problem(*(rename(getattr(problem, item.name)) for item in fields(problem)))
            for problem in error.problems
        ]
        raise StudyError(error.file, problems) from error


def rename(text: str) -> str:
    """Replace the options in a text.

    >>> rename("name it: --text COLUMN, twice for pairs"), rename("--labels-order")
    ('name it: text=, a list of two for pairs', 'labels=')
    """
    for pattern, name in NAMES:
        text = re.sub(pattern, name, text)
    return text
