"""Check of a study file for values that cannot be represented: huge numbers, NUL characters."""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.study.errors import Problem, format_value

MAX_INTEGER = 2**53
"""Largest whole number that JSON and double precision represent exactly."""
MAX_FLOAT, MIN_FLOAT = 1e30, 1e-30
"""Bounds of numbers: single precision ends at 3.4e38 and 1.2e-38, with a margin for products."""


def drop_unrepresentable(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Split the values of a file into usable ones and problems with the others.

    Infinity and NaN are kept, since the validation of the field reports them.
    """
    problems: list[Problem] = []
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            problems_by_key = {
                key: list(_find_problems(f"[{name}] {key}", entry)) for key, entry in value.items()
            }
            kept[name] = {key: entry for key, entry in value.items() if not problems_by_key[key]}
            problems += [
                problem for key_problems in problems_by_key.values() for problem in key_problems
            ]
        elif wrong := list(_find_problems(name, value)):
            problems += wrong
        else:
            kept[name] = value
    return kept, problems


def _find_problems(where: str, value: object) -> Iterator[Problem]:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _find_problems(f"{where} {key}", entry)
    elif isinstance(value, list):
        for place, entry in enumerate(value, 1):
            yield from _find_problems(f"{where}[{place}]", entry)
    elif isinstance(value, str) and "\0" in value:
        yield Problem(where, "a text without the character NUL", format_value(value), "remove it")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        got = format_value(value) if abs(value) < 10**60 else "one of more than 60 digits"
        expected = f"a whole number of at most {MAX_INTEGER:,}".replace(",", " ")
        yield Problem(where, expected, got, "choose a smaller number")
    elif isinstance(value, float) and not _is_representable(value):
        expected = f"an absolute value between {MIN_FLOAT:g} and {MAX_FLOAT:g}, or 0"
        yield Problem(
            where, expected, format_value(value), "choose a number within single precision"
        )


def _is_representable(value: float) -> bool:
    size = abs(value)
    return value == 0 or value != value or size == float("inf") or MIN_FLOAT <= size <= MAX_FLOAT
