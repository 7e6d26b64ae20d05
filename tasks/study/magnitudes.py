"""Values of a study file that nothing can hold: refused before anything reads them."""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.study.errors import Problem, format_value

MAX_INTEGER = 2**53
"""The largest whole number that every format between here and the store holds exactly."""
MAX_FLOAT, MIN_FLOAT = 1e30, 1e-30
"""Single precision ends at 3.4e38 and 1.2e-38; products and roots need room on both sides."""


def drop_unrepresentable(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """A file's values without numbers that cannot be computed with and texts no file is named by.

    What is wrong with these comes with them. Infinity and NaN stay: the field says what it expects.
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
        expected = f"a number of a size between {MIN_FLOAT:g} and {MAX_FLOAT:g}, or 0"
        yield Problem(
            where, expected, format_value(value), "choose one that single precision can hold"
        )


def _is_representable(value: float) -> bool:
    size = abs(value)
    return value == 0 or value != value or size == float("inf") or MIN_FLOAT <= size <= MAX_FLOAT
