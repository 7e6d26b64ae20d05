"""What a key of the study file may hold, and what every section of it is."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tasks.study.errors import Problem, show
from tasks.study.spelling import composed
from tasks.study.validation_errors import broken

HUB = "hub:"
"""Before the name of a model or data set of the hub: any other name is a path, never looked up."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Name = Annotated[str, Field(min_length=1)]
Check = Annotated[int, Field(ge=0)]


def _columns(value: Any) -> Any:
    """One column name, or one or two of them in a list, as a tuple."""
    names = _composed([value] if isinstance(value, str) else value)
    texts = isinstance(names, list | tuple) and all(isinstance(n, str) and n for n in names)
    if not texts or not 1 <= len(names) <= 2 or len(set(names)) != len(names):
        change = 'write text = "sentence", or text = ["premise", "hypothesis"] for pairs'
        raise broken(Problem("", "a column name, or two different ones", show(value), change))
    return tuple(names)


def _composed(value: Any) -> Any:
    """The names of a list in the form in which they are compared; anything else as it is."""
    if not isinstance(value, list | tuple):
        return value
    return [composed(name) if isinstance(name, str) else name for name in value]


def _distinct(value: Any) -> Any:
    """A list without a repeated entry; its type is checked by the field."""
    if isinstance(value, list | tuple):
        twice = [item for i, item in enumerate(value) if item in value[:i]]
        if twice:
            got = f"{show(twice[0])} again"
            raise broken(Problem("", "each entry once", got, "remove the repetition"))
        return tuple(value)
    return value


def _selection(value: Any) -> Any:
    """`"last:K"`, `"all"`, or a non-empty list of regular expressions as a tuple."""
    if isinstance(value, str) and (value == "all" or re.fullmatch(r"last:0*[1-9]\d*", value)):
        return value
    patterns = value if isinstance(value, list | tuple) else ()
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        expected = '"last:K" with K of 1 or more, "all", or a list of regular expressions'
        change = 'write "last:1" for the last encoder layer and the head'
        raise broken(Problem("", expected, show(value), change))
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            change = r"correct it; single quotes keep backslashes: 'layer\.5\.'"
            got = f"{show(pattern)} ({error})"
            raise broken(Problem("", "a valid regular expression", got, change)) from None
    return tuple(patterns)


def _damping(value: Any) -> Any:
    """`"auto"`, or a finite number of 0 or more."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "auto" or (number and math.isfinite(value) and value >= 0):
        return value
    expected = 'a finite number >= 0, or "auto"'
    change = 'write damping = 0.1, without quotes, or damping = "auto"'
    raise broken(Problem("", expected, show(value), change))


Columns = Annotated[tuple[str, ...], BeforeValidator(_columns)]
Distinct = Annotated[tuple[Name, ...], BeforeValidator(_distinct)]
Spelled = Annotated[Name, AfterValidator(composed)]
"""A name that is compared with what a table holds, not a path."""
Names = Annotated[tuple[Name, ...], BeforeValidator(_distinct), BeforeValidator(_composed)]
"""Several of these, each once."""
Selection = Annotated[str | tuple[str, ...], BeforeValidator(_selection)]
Damping = Annotated[float | Literal["auto"], BeforeValidator(_damping)]


class Section(BaseModel):
    """A part of the file: unknown keys are refused, and numbers are finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
