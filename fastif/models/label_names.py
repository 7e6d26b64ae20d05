"""Names of labels: whether a model and its user mean the same output units by them."""

import re
import unicodedata
from collections.abc import Callable, Sequence

GENERIC_NAME = re.compile(r"label[ _-]?(\d+)", re.IGNORECASE)


def find_misplaced_labels(labels: Sequence[str], names: Sequence[str]) -> list[str]:
    """The labels that the model has by name, but for another output unit than their own.

    Names are the same whatever their case, normal form, spaces and punctuation; where none is the
    same at all, one that begins with the other is (`neg` and `negative`). Generic names (`LABEL_1`)
    say something only of labels that are the numbers of the units.

    >>> find_misplaced_labels(["neg", "pos"], ["POS", "NEG"])
    ['neg', 'pos']
    >>> find_misplaced_labels(["neg", "pos"], ["Negative", "Positive"])
    []
    >>> find_misplaced_labels(["1", "0"], ["LABEL_0", "LABEL_1"])
    ['1', '0']
    >>> find_misplaced_labels(["1", "2"], ["LABEL_0", "LABEL_1"])
    []
    """
    numbers = [matches[1] for name in names if (matches := GENERIC_NAME.fullmatch(name))]
    if set(labels) == set(numbers):
        names = numbers
    tables = [(key, _index_units(names, key)) for key in (str, _fold_case, _strip_punctuation)]
    matches = {
        label: units[key(label)]
        for key, units in reversed(tables)
        for label in labels
        if key(label) in units
    }
    if matches:
        return [
            own_label
            for unit, own_label in enumerate(labels)
            if matches.get(own_label, unit) != unit
        ]
    return _find_misplaced_prefixes(
        [_strip_punctuation(own_label) for own_label in labels],
        list(map(_strip_punctuation, names)),
        labels,
    )


def _index_units(names: Sequence[str], key: Callable[[str], str]) -> dict[str, int]:
    """The output unit of each name; nothing where two names are one by this key."""
    units = {key(name): unit for unit, name in enumerate(names)}
    return units if len(units) == len(names) else {}


def _find_misplaced_prefixes(
    short: Sequence[str], names: Sequence[str], labels: Sequence[str]
) -> list[str]:
    candidates = [
        [
            unit
            for unit, name in enumerate(names)
            if short_label and name and _is_prefix_pair(short_label, name)
        ]
        for short_label in short
    ]
    if any(len(units) != 1 for units in candidates) or len({u[0] for u in candidates}) != len(
        candidates
    ):
        return []
    return [label for unit, label in enumerate(labels) if candidates[unit] != [unit]]


def _is_prefix_pair(left: str, right: str) -> bool:
    return left.startswith(right) or right.startswith(left)


def _fold_case(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _strip_punctuation(name: str) -> str:
    return "".join(letter for letter in _fold_case(name) if letter.isalnum())
