"""Examples as a page shows them."""

import unicodedata
from collections.abc import Iterable
from typing import Any

import polars as pl

from tasks.results.group_names import name_of

CUT = 320
"""Letters of a text that a page shows; the store has the rest."""

UNSEEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
"""Categories of characters that cannot be seen, but can turn or hide what can."""

KEPT = {"\n", "\t", "\u200d", "\ufe0f"}
"""Of these: line ends, and what joins emoji."""

Row = dict[str, Any]


def shown(text: object, cut: int = CUT) -> str:
    r"""A text for the eye: cut, and with what cannot be seen named by its number.

    >>> shown("plain"), shown("x" * 400, 3), shown("a\u202eb\x00")
    ('plain', 'xxx…', 'a⟨U+202E⟩b⟨U+0000⟩')
    """
    whole = f"{text}"
    return legible(whole[:cut]) + ("…" if len(whole) > cut else "")


def legible(text: str) -> str:
    r"""Text with what cannot be seen, or must not stand in XML, named by its number.

    >>> legible("a\x0bb\ufffe"), legible("\ud800")
    ('a⟨U+000B⟩b⟨U+FFFE⟩', '⟨U+D800⟩')
    """
    return "".join(_seen(character) for character in text)


def _seen(character: str) -> str:
    unseen = unicodedata.category(character) in UNSEEN and character not in KEPT
    number = ord(character)
    if unseen or number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF:  # no characters at all
        return f"⟨U+{number:04X}⟩"
    return character


def names_for(values: Iterable[str | None], cut: int) -> dict[str | None, str]:
    """A short name for each value, and never one name for two: charts merge what reads alike.

    >>> list(names_for([None, "(no value)", "long and a", "long and b"], 8).values())
    ['(no valu…', '"(no val…', 'long and…', 'long and… (2)']
    """
    found: dict[str | None, str] = {}
    for value in dict.fromkeys(values):
        name, again = shown(name_of(value), cut), 2
        while name in found.values():
            name = f"{shown(name_of(value), cut)} ({again})"
            again += 1
        found[value] = name
    return found


def examples(frame: pl.DataFrame, key: str) -> dict[int, Row]:
    """Rows by their position, each as a mapping."""
    return {row[key]: row for row in frame.iter_rows(named=True)}


def listed(values: Iterable[object], most: int = 3) -> str:
    """A few of them, and how many more there are.

    >>> listed(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    every = [f"{value}" for value in values]
    rest = len(every) - most
    return f"{', '.join(every[:most])}{f' and {rest} more' if rest > 0 else ''}"
