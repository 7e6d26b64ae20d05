"""Parsing of labels, flags and reviewer names in review files, as spreadsheets write them."""

import unicodedata
from collections.abc import Sequence

NONE = "none"
"""Value of `right_label` for a row that no label fits."""

NONE_FALLBACK = "no label fits"
"""Replacement of `NONE` if the study has a label with that name."""

YES_WORDS = "true wahr vrai vero verdadero verdadeiro waar yes ja oui si sí sì sim 1 1.0 x y j"
NO_WORDS = "false falsch faux falso onwaar no nein non nee não 0 0.0 n"
TRUE_WORDS = ("true", "wahr", "vrai", "vero", "verdadero", "verdadeiro", "waar")
FALSE_WORDS = ("false", "falsch", "faux", "falso", "onwaar")

YES = frozenset([*YES_WORDS.split(), *(form for w in TRUE_WORDS for form in (f"{w}()", f"={w}()"))])
NO = frozenset([*NO_WORDS.split(), *(form for w in FALSE_WORDS for form in (f"{w}()", f"={w}()"))])
"""Accepted values of a flag column, in any case; an empty cell is false."""


def choose_none_word(labels: Sequence[str]) -> str:
    """Return the value of `right_label` for "no label fits"; never one of the labels.

    >>> choose_none_word(["neg", "pos"]), choose_none_word(["None", "cat"])
    ('none', 'no label fits')
    """
    folded = {normalize_word(label) for label in labels}
    word = NONE
    while normalize_word(word) in folded:
        word = NONE_FALLBACK if word == NONE else f"{word}!"
    return word


def parse_label(word: str, labels: Sequence[str]) -> str | None:
    """Return the label that a cell means, or the value of `choose_none_word`; None for neither.

    An exact match is tried first. Then case, surrounding spaces, Unicode normal form and a leading
    apostrophe are ignored, and then numbers and truth values are compared. A match must be unique.

    >>> parse_label("POS ", ["neg", "pos"])
    'pos'
    >>> parse_label("1.0", ["0", "1"]), parse_label("WAHR", ["true"])
    ('1', 'true')
    """
    allowed = (*labels, choose_none_word(labels))
    if word in allowed:
        return word
    plain = word.removeprefix("'")
    for normalize in (normalize_word, _parse_number, _parse_truth):
        target = normalize(plain)
        matches = [label for label in allowed if target is not None and normalize(label) == target]
        if matches:
            return matches[0] if len(matches) == 1 else None
    return None


def parse_flag(word: str | None) -> bool | None:
    """Return the flag that a cell means, in any case; None if it is neither in `YES` nor in `NO`.

    >>> parse_flag("WAHR"), parse_flag(None), parse_flag("perhaps")
    (True, False, None)
    """
    plain = normalize_word(word or "").removeprefix("'")
    if plain in YES:
        return True
    return False if plain in NO or not plain else None


def normalize_word(word: str) -> str:
    """Normalize case, Unicode form and white space of a word.

    >>> normalize_word("  Ann   LEE ") == normalize_word("ann lee")
    True
    """
    return unicodedata.normalize("NFC", " ".join(word.split()).casefold())


def _parse_number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _parse_truth(word: str) -> bool | None:
    word = normalize_word(word)
    return word in TRUE_WORDS if word in (*TRUE_WORDS, *FALSE_WORDS) else None
