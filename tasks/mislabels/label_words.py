"""Words of a reviewer's file: labels, flags and names, as spreadsheets leave them."""

import unicodedata
from collections.abc import Sequence

NONE = "none"
"""In place of a right label: no label fits the row."""

INSTEAD = "no label fits"
"""The same word where a label is called none."""

YES_WORDS = "true wahr vrai vero verdadero verdadeiro waar yes ja oui si sí sì sim 1 1.0 x y j"
NO_WORDS = "false falsch faux falso onwaar no nein non nee não 0 0.0 n"
TRUTHS = ("true", "wahr", "vrai", "vero", "verdadero", "verdadeiro", "waar")
LIES = ("false", "falsch", "faux", "falso", "onwaar")

YES = frozenset([*YES_WORDS.split(), *(form for w in TRUTHS for form in (f"{w}()", f"={w}()"))])
NO = frozenset([*NO_WORDS.split(), *(form for w in LIES for form in (f"{w}()", f"={w}()"))])
"""Words of a flag column, in any case; an empty cell is no flag."""


def none_word(labels: Sequence[str]) -> str:
    """The word by which a reviewer says that no label fits; never one of the labels.

    >>> none_word(["neg", "pos"]), none_word(["None", "cat"])
    ('none', 'no label fits')
    """
    folded = {folded_word(label) for label in labels}
    word = NONE
    while folded_word(word) in folded:
        word = INSTEAD if word == NONE else f"{word}!"
    return word


def label_of(word: str, labels: Sequence[str]) -> str | None:
    """The one label that a word means, or the word of `none_word`; None if it is neither.

    As it is; else but for case, spaces at the ends, the normal form of letters and a leading
    apostrophe; else as the same number or the same truth value, where a single label fits.

    >>> label_of("POS ", ["neg", "pos"]), label_of("1.0", ["0", "1"]), label_of("WAHR", ["true"])
    ('pos', '1', 'true')
    """
    allowed = (*labels, none_word(labels))
    if word in allowed:
        return word
    plain = word.removeprefix("'")
    for form in (folded_word, _number, _truth):
        wanted = form(plain)
        fitting = [label for label in allowed if wanted is not None and form(label) == wanted]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def flag_of(word: str | None) -> bool | None:
    """A flag by its word in any case; None for a word that is none of YES and NO.

    >>> flag_of("WAHR"), flag_of(None), flag_of("perhaps")
    (True, False, None)
    """
    plain = folded_word(word or "").removeprefix("'")
    if plain in YES:
        return True
    return False if plain in NO or not plain else None


def folded_word(word: str) -> str:
    """A word but for case, normal form, and spaces at the ends or repeated.

    >>> folded_word("  Ann   LEE ") == folded_word("ann lee")
    True
    """
    return unicodedata.normalize("NFC", " ".join(word.split()).casefold())


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _truth(word: str) -> bool | None:
    word = folded_word(word)
    return word in TRUTHS if word in (*TRUTHS, *LIES) else None
