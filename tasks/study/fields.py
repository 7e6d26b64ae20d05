"""Types of the keys of a study file, and the base class of its sections."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tasks.study.errors import Problem, format_value
from tasks.study.spelling import normalize_nfc
from tasks.study.validation_errors import make_validation_error

HUB = "hub:"
"""Prefix of names on the Hugging Face hub; all other names are local paths."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Name = Annotated[str, Field(min_length=1)]
CheckCount = Annotated[int, Field(ge=0)]


def _parse_columns(value: Any) -> Any:
    """Parse a column name, or a list of one or two column names, to a tuple."""
    names = _normalize_names([value] if isinstance(value, str) else value)
    are_names = isinstance(names, list | tuple) and all(isinstance(n, str) and n for n in names)
    if not are_names or not 1 <= len(names) <= 2 or len(set(names)) != len(names):
        change = 'write text = "sentence", or text = ["premise", "hypothesis"] for pairs'
        raise make_validation_error(
            Problem("", "a column name, or two different ones", format_value(value), change)
        )
    return tuple(names)


def _normalize_names(value: Any) -> Any:
    """Normalize the names of a list to NFC; other values are returned unchanged."""
    if not isinstance(value, list | tuple):
        return value
    return [normalize_nfc(name) if isinstance(name, str) else name for name in value]


def _check_distinct(value: Any) -> Any:
    """Refuse a list with duplicates; the field checks its type."""
    if isinstance(value, list | tuple):
        duplicates = [item for i, item in enumerate(value) if item in value[:i]]
        if duplicates:
            got = f"{format_value(duplicates[0])} again"
            raise make_validation_error(Problem("", "each entry once", got, "remove the duplicate"))
        return tuple(value)
    return value


def _parse_selection(value: Any) -> Any:
    """Parse "last:K", "head", "adapter", "all", or a list of regular expressions to a tuple."""
    is_word = isinstance(value, str)
    if is_word and (value in ("all", "head", "adapter") or re.fullmatch(r"last:0*[1-9]\d*", value)):
        return value
    patterns = value if isinstance(value, list | tuple) else ()
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        expected = (
            '"last:K" with K of 1 or more, "all", "adapter", or a list of regular expressions'
        )
        change = 'write "last:1" for the last encoder layer and the head'
        raise make_validation_error(Problem("", expected, format_value(value), change))
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            change = r"correct it; single quotes keep backslashes: 'layer\.5\.'"
            got = f"{format_value(pattern)} ({error})"
            raise make_validation_error(
                Problem("", "a valid regular expression", got, change)
            ) from None
    return tuple(patterns)


def _parse_damping(value: Any) -> Any:
    """Parse "auto", or a finite number >= 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "auto" or (is_number and math.isfinite(value) and value >= 0):
        return value
    expected = 'a finite number >= 0, or "auto"'
    change = 'write damping = 0.1, without quotes, or damping = "auto"'
    raise make_validation_error(Problem("", expected, format_value(value), change))


def _check_separator(value: str) -> str:
    """Check that a separator is one ASCII character that is neither a quote nor a line break."""
    if len(value) == 1 and value.isascii() and value not in '"\r\n\0':
        return value
    change = 'write separator = ";" or, for tabs, separator = "\\t"'
    raise make_validation_error(Problem("", "one ASCII character", format_value(value), change))


def _check_encoding(value: str) -> str:
    """Check that an encoding is known to Python and is one of texts."""
    try:
        "".encode(value)
        return value
    except (LookupError, ValueError):
        expected = "the name of a text encoding that Python knows"
        change = 'write encoding = "utf-8", "utf-16", "cp1252", "cp1250" or another one'
        raise make_validation_error(Problem("", expected, format_value(value), change)) from None


Columns = Annotated[tuple[str, ...], BeforeValidator(_parse_columns)]
DistinctNames = Annotated[tuple[Name, ...], BeforeValidator(_check_distinct)]
NormalizedName = Annotated[Name, AfterValidator(normalize_nfc)]
"""Name of a column or label, compared in Unicode form NFC."""
Names = Annotated[
    tuple[Name, ...], BeforeValidator(_check_distinct), BeforeValidator(_normalize_names)
]
"""List of distinct names in Unicode form NFC."""
Selection = Annotated[str | tuple[str, ...], BeforeValidator(_parse_selection)]
Damping = Annotated[float | Literal["auto"], BeforeValidator(_parse_damping)]


Separator = Annotated[str, AfterValidator(_check_separator)]
Encoding = Annotated[Name, AfterValidator(_check_encoding)]


class Section(BaseModel):
    """Base class of the sections: frozen, unknown keys refused, numbers finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
