"""Durations in words: written in a study file, and shown by forecasts."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from tasks.study.errors import Problem, format_value
from tasks.study.validation_errors import make_validation_error

UNIT_SECONDS = {"h": 3600, "min": 60, "s": 1}
_PARTS = re.compile(
    r"(?=\d)(?:(\d{1,6}(?:\.\d{1,6})?) ?h ?)?(?:(\d{1,6}(?:\.\d{1,6})?) ?min ?)?"
    r"(?:(\d{1,6}(?:\.\d{1,6})?) ?s)?"
)


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration such as "1h30min"; None for any other text, and for zero.

    Examples:
        >>> [parse_duration(text) for text in ("20min", "90s", "2h", "1h30min", "1 h 30 min")]
        [1200.0, 90.0, 7200.0, 5400.0, 5400.0]
        >>> [parse_duration(text) for text in ("20", "min", "", "0s", "30min1h")]
        [None, None, None, None, None]
    """
    match = _PARTS.fullmatch(text.strip())
    if match is None:
        return None
    pairs = zip(match.groups(), UNIT_SECONDS.values(), strict=True)
    return sum(float(number) * unit for number, unit in pairs if number) or None


def format_duration(seconds: float) -> str:
    """Return a time in seconds up to 120, then in minutes, then in hours and minutes.

    Examples:
        >>> [format_duration(seconds) for seconds in (0.4, 75, 121, 27_861, 400_000)]
        ['0 s', '75 s', '2 min', '7 h 44 min', '111 h']
    """
    if seconds <= 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours:,} h" + (f" {rest} min" if rest and hours < 100 else "")


def _check_duration(value: Any) -> Any:
    """Refuse all but a text with units; the message writes a number as minutes."""
    if isinstance(value, str) and parse_duration(value) is not None:
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    change = f'write "{value:g}min", or "{value:g}s"' if is_number else 'write "20min"'
    expected = 'a duration with its unit, in quotes, such as "20min", "90s", "2h" or "1h30min"'
    raise make_validation_error(Problem("", expected, format_value(value), change))


Duration = Annotated[str, BeforeValidator(_check_duration)]
"""Duration with its unit, such as "20min" or "1h30min"."""
