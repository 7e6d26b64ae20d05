"""Words of a reviewer's file: labels, flags and names, as spreadsheets leave them."""

import unicodedata
from collections.abc import Sequence

NONE = "none"
"""In place of a right label: no label fits the row."""

NONE_FALLBACK = "no label fits"
"""The same word where a label is called none."""

YES_WORDS = "true wahr vrai vero verdadero verdadeiro waar yes ja oui si sí sì sim 1 1.0 x y j"
NO_WORDS = "false falsch faux falso onwaar no nein non nee não 0 0.0 n"
TRUE_WORDS = ("true", "wahr", "vrai", "vero", "verdadero", "verdadeiro", "waar")
FALSE_WORDS = ("false", "falsch", "faux", "falso", "onwaar")

YES = frozenset([*YES_WORDS.split(), *(form for w in TRUE_WORDS for form in (f"{w}()", f"={w}()"))])
NO = frozenset([*NO_WORDS.split(), *(form for w in FALSE_WORDS for form in (f"{w}()", f"={w}()"))])
"""Words of a flag column, in any case; an empty cell is no flag."""


def choose_none_word(labels: Sequence[str]) -> str:
    """The word by which a reviewer says that no label fits; never one of the labels.

    >>> choose_none_word(["neg", "pos"]), choose_none_word(["None", "cat"])
    ('none', 'no label fits')
    """
    folded = {normalize_word(label) for label in labels}
    word = NONE
    while normalize_word(word) in folded:
        word = NONE_FALLBACK if word == NONE else f"{word}!"
    return word


def parse_label(word: str, labels: Sequence[str]) -> str | None:
    """The one label that a word means, or the word of `choose_none_word`; None if it is neither.

    As it is; else but for case, spaces at the ends, the normal form of letters and a leading
    apostrophe; else as the same number or the same truth value, where a single label fits.

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
    """A flag by its word in any case; None for a word that is none of YES and NO.

    >>> parse_flag("WAHR"), parse_flag(None), parse_flag("perhaps")
    (True, False, None)
    """
    plain = normalize_word(word or "").removeprefix("'")
    if plain in YES:
        return True
    return False if plain in NO or not plain else None


def normalize_word(word: str) -> str:
    """A word but for case, normal form, and spaces at the ends or repeated.

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
