"""Values of a study file that nothing can hold: refused before anything reads them."""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.study.errors import Problem, show

WHOLE = 2**53
"""The largest whole number that every format between here and the store holds exactly."""
LARGE, SMALL = 1e30, 1e-30
"""Single precision ends at 3.4e38 and 1.2e-38; products and roots need room on both sides."""


def without_unheld(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """A file's values without numbers that cannot be computed with and texts no file is named by.

    What is wrong with these comes with them. Infinity and NaN stay: the field says what it expects.
    """
    problems: list[Problem] = []
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found = {key: list(_problems(f"[{name}] {key}", one)) for key, one in value.items()}
            kept[name] = {key: one for key, one in value.items() if not found[key]}
            problems += [problem for each in found.values() for problem in each]
        elif wrong := list(_problems(name, value)):
            problems += wrong
        else:
            kept[name] = value
    return kept, problems


def _problems(where: str, value: object) -> Iterator[Problem]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _problems(f"{where} {key}", one)
    elif isinstance(value, list):
        for place, one in enumerate(value, 1):
            yield from _problems(f"{where}[{place}]", one)
    elif isinstance(value, str) and "\0" in value:
        yield Problem(where, "a text without the character NUL", show(value), "remove it")
    elif isinstance(value, int) and abs(value) > WHOLE:
        got = show(value) if abs(value) < 10**60 else "one of more than 60 digits"
        expected = f"a whole number of at most {WHOLE:,}".replace(",", " ")
        yield Problem(where, expected, got, "choose a smaller number")
    elif isinstance(value, float) and not _is_held(value):
        expected = f"a number of a size between {SMALL:g} and {LARGE:g}, or 0"
        yield Problem(where, expected, show(value), "choose one that single precision can hold")


def _is_held(value: float) -> bool:
    size = abs(value)
    return value == 0 or value != value or size == float("inf") or SMALL <= size <= LARGE
