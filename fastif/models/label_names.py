"""Label names: whether a model and its user assign them to equal output units."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fastif.errors import InputError

GENERIC_NAME = re.compile(r"label[ _-]?(\d+)", re.IGNORECASE)
"""Pattern of names that transformers gives to unnamed labels, such as LABEL_1."""


def find_misplaced_labels(labels: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the labels that the model assigns to another output unit than their own.

    Names are compared without case, Unicode normal form, spaces and punctuation. If no pair is
    equal, a name that begins with the other one matches (`neg` and `negative`). Generic names
    (`LABEL_1`) are compared only with labels that are the numbers of the units.

    Args:
        labels: Labels in the order of the user.
        names: Names in the order of the model's output units.

    Examples:
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
    """Return the output unit of each name; an empty mapping if two names share a key."""
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


def check_label_names(
    label_names: Sequence[str], units: Mapping[str, int], labels: Sequence[str], source: str | Path
) -> None:
    """Refuse labels in another order than the outputs of a model.

    Args:
        label_names: Names of the outputs, in order.
        units: Output of each label by name, as the configuration has it.
        labels: Labels of the study, in order.
        source: Folder or name of the model.

    Raises:
        InputError: The orders differ, or the configuration contradicts itself.
    """
    inconsistent = [n for unit, n in enumerate(label_names) if n in units and units[n] != unit]
    if inconsistent and not all(GENERIC_NAME.fullmatch(name) for name in units):
        raise InputError(
            f"model {source}",
            "id2label and label2id that agree",
            f"id2label {label_names}, label2id {dict(units)}",
            "Correct its config.json: which output unit is which label?",
        )
    if all(map(GENERIC_NAME.fullmatch, label_names)) and sorted(units.values()) == list(
        range(len(label_names))
    ):
        # A configuration with label2id alone.
        label_names = sorted(units, key=lambda name: units[name])
    if find_misplaced_labels(labels, label_names):
        raise InputError(
            f"model {source}",
            f"labels in the order of the model's output units, {label_names}",
            f"{list(labels)}",
            "Set `labels` of the study to the model's order.",
        )
