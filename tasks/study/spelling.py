"""Unicode normalization of names, and messages about look-alike characters.

A word has several encodings in Unicode: é is one code point, or an e and a combining accent. Names
(labels, columns, ids, values of groups) are compared in their composed form, NFC. Texts are not
normalized, since a tokenizer reads every code point.
"""

import re
import unicodedata

BLANK_CHARACTERS = r"[\s\p{Cc}\p{Cf}\p{Z}]"
"""Invisible characters: white space, controls, joiners and other format characters."""


def normalize_nfc(name: str) -> str:
    r"""Normalize a name to Unicode form NFC.

    >>> normalize_nfc("cafe\u0301") == "caf\u00e9"
    True
    """
    return unicodedata.normalize("NFC", name)


def describe_difference(word: str, expected: str) -> str:
    r"""Describe the code points in which two names differ; empty if both are ASCII.

    >>> describe_difference("n\u0435g", "neg")
    'U+0435 CYRILLIC SMALL LETTER IE in place of U+0065 LATIN SMALL LETTER E'
    >>> describe_difference("Neg", "neg")
    ''
    """
    if word.isascii() and expected.isascii():
        return ""
    word_rest, expected_rest = list(word), list(expected)
    while word_rest and expected_rest and word_rest[0] == expected_rest[0]:
        word_rest, expected_rest = word_rest[1:], expected_rest[1:]
    while word_rest and expected_rest and word_rest[-1] == expected_rest[-1]:
        word_rest, expected_rest = word_rest[:-1], expected_rest[:-1]
    return f"{_format_code_points(word_rest)} in place of {_format_code_points(expected_rest)}"


def describe_characters(word: str) -> str:
    r"""Describe the code points of a name that are not ASCII; empty if all are.

    >>> describe_characters("\u0430b"), describe_characters("ab")
    ('U+0430 CYRILLIC SMALL LETTER A', '')
    """
    characters = [character for character in word if not character.isascii()]
    return _format_code_points(characters) if characters else ""


def fold_name(name: str) -> str:
    r"""Fold a name for comparison: width, ligatures, case and invisible characters are ignored.

    >>> fold_name("\uff2eeg\u200b")
    'neg'
    """
    visible = re.sub(r"[\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff]", "", name)
    return unicodedata.normalize("NFKC", visible).casefold()


def _format_code_points(characters: list[str]) -> str:
    names = [f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip() for c in characters[:3]]
    return ", ".join(names) + (", ..." if len(characters) > 3 else "") or "nothing"
