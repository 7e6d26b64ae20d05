"""Formatting of examples for the report page."""

import unicodedata
from collections.abc import Iterable
from typing import Any

import polars as pl

from tasks.results.group_names import format_group_value

MAX_CHARS = 320
"""Number of characters of a text on the page; the store has the full text."""

UNPRINTABLE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories of invisible characters, which can reorder or hide visible ones."""

ALLOWED = {"\n", "\t", "\u200d", "\ufe0f"}
"""Characters of these categories that are kept: white space, and joiners of emoji."""

Row = dict[str, Any]


def shorten_text(text: object, max_chars: int = MAX_CHARS) -> str:
    r"""Truncate a text and replace invisible characters by their code points.

    >>> shorten_text("plain"), shorten_text("x" * 400, 3), shorten_text("a\u202eb\x00")
    ('plain', 'xxx…', 'a⟨U+202E⟩b⟨U+0000⟩')
    """
    full_text = f"{text}"
    return escape_unprintable(full_text[:max_chars]) + ("…" if len(full_text) > max_chars else "")


def escape_unprintable(text: str) -> str:
    r"""Replace characters that are invisible, or not allowed in XML, by their code points.

    >>> escape_unprintable("a\x0bb\ufffe"), escape_unprintable("\ud800")
    ('a⟨U+000B⟩b⟨U+FFFE⟩', '⟨U+D800⟩')
    """
    if text.isprintable():  # most texts; no character to replace is printable
        return text
    return "".join(_escape_character(character) for character in text)


def _escape_character(character: str) -> str:
    is_unprintable = unicodedata.category(character) in UNPRINTABLE and character not in ALLOWED
    number = ord(character)
    if (
        is_unprintable or number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF
    ):  # no characters at all
        return f"⟨U+{number:04X}⟩"
    return character


def make_short_names(values: Iterable[str | None], max_chars: int) -> dict[str | None, str]:
    """Return a unique short name for each value, since charts merge equal names.

    >>> list(make_short_names([None, "(no value)", "long and a", "long and b"], 8).values())
    ['(no valu…', '"(no val…', 'long and…', 'long and… (2)']
    """
    names: dict[str | None, str] = {}
    for value in dict.fromkeys(values):
        name, number = shorten_text(format_group_value(value), max_chars), 2
        while name in names.values():
            name = f"{shorten_text(format_group_value(value), max_chars)} ({number})"
            number += 1
        names[value] = name
    return names


def index_rows(frame: pl.DataFrame, key: str) -> dict[int, Row]:
    """Rows as dicts, by their position in column `key`."""
    return {row[key]: row for row in frame.iter_rows(named=True)}


def join_first(values: Iterable[object], limit: int = 3) -> str:
    """Join the first values and count the others.

    >>> join_first(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    names = [f"{value}" for value in values]
    remaining = len(names) - limit
    return f"{', '.join(names[:limit])}{f' and {remaining} more' if remaining > 0 else ''}"
