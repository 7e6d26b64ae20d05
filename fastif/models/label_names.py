"""Names of labels: whether a model and its user mean the same output units by them."""

import re
import unicodedata
from collections.abc import Callable, Sequence

GENERIC = re.compile(r"label[ _-]?(\d+)", re.IGNORECASE)


def displaced(labels: Sequence[str], names: Sequence[str]) -> list[str]:
    """The labels that the model has by name, but for another output unit than their own.

    Names are the same whatever their case, normal form, spaces and punctuation; where none is the
    same at all, one that begins with the other is (`neg` and `negative`). Generic names (`LABEL_1`)
    say something only of labels that are the numbers of the units.

    >>> displaced(["neg", "pos"], ["POS", "NEG"])
    ['neg', 'pos']
    >>> displaced(["neg", "pos"], ["Negative", "Positive"])
    []
    >>> displaced(["1", "0"], ["LABEL_0", "LABEL_1"])
    ['1', '0']
    >>> displaced(["1", "2"], ["LABEL_0", "LABEL_1"])
    []
    """
    numbers = [found[1] for name in names if (found := GENERIC.fullmatch(name))]
    if set(labels) == set(numbers):
        names = numbers
    tables = [(key, _units(names, key)) for key in (str, _folded, _bare)]
    found = {
        label: units[key(label)]
        for key, units in reversed(tables)
        for label in labels
        if key(label) in units
    }
    if found:
        return [one for unit, one in enumerate(labels) if found.get(one, unit) != unit]
    return _displaced_beginnings([_bare(one) for one in labels], list(map(_bare, names)), labels)


def _units(names: Sequence[str], key: Callable[[str], str]) -> dict[str, int]:
    """The output unit of each name; nothing where two names are one by this key."""
    units = {key(name): unit for unit, name in enumerate(names)}
    return units if len(units) == len(names) else {}


def _displaced_beginnings(
    short: Sequence[str], names: Sequence[str], labels: Sequence[str]
) -> list[str]:
    found = [
        [unit for unit, name in enumerate(names) if one and name and _begins(one, name)]
        for one in short
    ]
    if any(len(units) != 1 for units in found) or len({u[0] for u in found}) != len(found):
        return []
    return [label for unit, label in enumerate(labels) if found[unit] != [unit]]


def _begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _bare(name: str) -> str:
    return "".join(letter for letter in _folded(name) if letter.isalnum())
