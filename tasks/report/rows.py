"""Examples as a page shows them."""

import unicodedata
from collections.abc import Iterable
from typing import Any

import polars as pl

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
    told = "".join(_seen(c) for c in whole[:cut])
    return told + ("…" if len(whole) > cut else "")


def _seen(character: str) -> str:
    if unicodedata.category(character) in UNSEEN and character not in KEPT:
        return f"⟨U+{ord(character):04X}⟩"
    return character


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
