"""Names of labels in a table and in a model: which of them are equal."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence

from fastif.models.label_names import GENERIC_NAME

_NUMBER = re.compile(r"-?\d+")


def fold_label(name: str) -> str:
    """Fold a name for comparison: case, Unicode form, spaces and punctuation are ignored.

    >>> fold_label("Very Negative") == fold_label("very_negative")
    True
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(sign for sign in folded if sign.isalnum()) or folded


def are_generic(names: Sequence[str]) -> bool:
    """Whether all names are those that transformers gives to unnamed labels."""
    return all(map(GENERIC_NAME.fullmatch, names))


def order_by_names(values: Collection[str], names: Sequence[str]) -> list[str | None] | None:
    """Return the value of each output by its name, None for outputs without a value.

    A value belongs to the output of an equal name, or to the only one whose name begins with it, or
    it begins with.

    Args:
        values: Label values of the tables.
        names: Names of the model's outputs, in order.

    Returns:
        The values in the order of the outputs; None if a value has no output of its own.

    >>> order_by_names(["POS", "neg"], ["Negative", "Positive"])
    ['neg', 'POS']
    >>> order_by_names(["a", "b"], ["LABEL_0", "LABEL_1"])
    """
    folded = [fold_label(name) for name in names]
    exact = _match(values, lambda value: [u for u, n in enumerate(folded) if n == value])
    pairs = exact or _match(
        values,
        lambda value: [
            u for u, n in enumerate(folded) if n and (n.startswith(value) or value.startswith(n))
        ],
    )
    if pairs is None:
        return None
    return [pairs.get(unit) for unit in range(len(names))]


def _match(values: Collection[str], find_units) -> Mapping[int, str] | None:
    """Assign each value its only output; None if a value has none, several, or a shared one."""
    pairs: dict[int, str] = {}
    for value in values:
        units = find_units(fold_label(value))
        if len(units) != 1 or units[0] in pairs:
            return None
        pairs[units[0]] = value
    return pairs


def order_by_numbers(values: Collection[str], count: int) -> list[str | None] | None:
    """Return values that are the numbers 0 to count - 1 in their order; None for others.

    >>> order_by_numbers(["1", "0"], 2), order_by_numbers(["1", "2"], 2)
    (['0', '1'], None)
    """
    if not all(_NUMBER.fullmatch(value) and 0 <= int(value) < count for value in values):
        return None
    units = {int(value): value for value in values}
    return [units.get(unit) for unit in range(count)]


def sort_values(values: Collection[str]) -> list[str]:
    """Sort values: numbers by size, words by alphabet.

    >>> sort_values(["10", "9"]), sort_values(["b", "a"])
    (['9', '10'], ['a', 'b'])
    """
    if all(map(_NUMBER.fullmatch, values)):
        return sorted(values, key=int)
    return sorted(values)


def fill_order(order: Sequence[str | None], names: Sequence[str]) -> tuple[str, ...]:
    """Name the outputs that no row has after the model's outputs, without a name twice.

    >>> fill_order(["pos", None], ["POS", "other"])
    ('pos', 'other')
    """
    present = {value for value in order if value is not None}
    filled: list[str] = []
    for unit, value in enumerate(order):
        name = value if value is not None else names[unit]
        while value is None and (name in present or name in filled):
            name = f"{name} (no row)"
        filled.append(name)
    return tuple(filled)
