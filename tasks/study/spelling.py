"""Names compared as people read them: one Unicode form, and what the eye cannot see is told.

The same word has several spellings in Unicode: é is one code point, or an e and an accent. Names
(labels, columns, ids, values of groups) are compared in their composed form, NFC; texts stay as
they are, since a tokenizer reads every code point.
"""

import unicodedata

NOTHING = r"[\s\p{Cc}\p{Cf}\p{Z}]"
"""Characters of no ink: white space, controls, joiners and other formats."""


def composed(name: str) -> str:
    r"""A name in Unicode's form NFC, in which equal words are equal strings.

    >>> composed("cafe\u0301") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", name)


def unlike(word: str, other: str) -> str:
    r"""The code points in which two names differ, where one of them is none of ASCII; else nothing.

    >>> unlike("n\u0435g", "neg")
    'U+0435 CYRILLIC SMALL LETTER IE in place of U+0065 LATIN SMALL LETTER E'
    >>> unlike("Neg", "neg")
    ''
    """
    if word.isascii() and other.isascii():
        return ""
    mine, its = list(word), list(other)
    while mine and its and mine[0] == its[0]:
        mine, its = mine[1:], its[1:]
    while mine and its and mine[-1] == its[-1]:
        mine, its = mine[:-1], its[:-1]
    return f"{_points(mine)} in place of {_points(its)}"


def _points(characters: list[str]) -> str:
    names = [f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip() for c in characters[:3]]
    return ", ".join(names) + (", ..." if len(characters) > 3 else "") or "nothing"
