"""Targets of rows, and their text in the columns `label` and `prediction` of a store."""

from collections.abc import Sequence
from typing import TypeAlias

from tasks.study.target_kind import MULTI_LABEL, NO_TAG, SOFT_LABEL, TAGS

Target: TypeAlias = int | float | tuple[float, ...]
"""Target of a row: the position of a class, a number, a number for each label, or the position of
each word's tag."""
UNTAGGED = -100
"""Tag of a word without one, as in torch and transformers: such a word has no loss."""

NO_LABEL = "(none)"
"""Text of a row of several labels that has none of them."""


def format_target(
    value: Target | None, kind: str, labels: Sequence[str], focus: int | None = None
) -> str | None:
    """Write a target as text, as in the columns `label` and `prediction` of a store.

    Args:
        value: Target of a row; None without.
        kind: Kind of the target.
        labels: Label names of the study.
        focus: Position of the one label of several that the row is about; None for all of them.

    Examples:
        >>> format_target((1.0, 0.0, 1.0), "multi-label", ["a", "b", "c"])
        'a | c'
        >>> format_target((0.25, 0.75), "soft-label", ["no", "yes"])
        'yes 0.75, no 0.25'
        >>> format_target(2.5, "number", ["price"]), format_target(0, "class", ["no", "yes"])
        ('2.5', 'no')
        >>> format_target((1, -100, 0), "tags", ["O", "B-PER"])
        'B-PER _ O'
    """
    if value is None:
        return None
    if isinstance(value, int):
        return labels[value]
    if isinstance(value, float):
        return repr(value)
    if kind == TAGS:
        return " ".join(NO_TAG if tag == UNTAGGED else labels[int(tag)] for tag in value)
    if focus is not None:
        return labels[focus] if value[focus] else f"not {labels[focus]}"
    if kind == MULTI_LABEL:
        return " | ".join(n for n, x in zip(labels, value, strict=True) if x) or NO_LABEL
    if kind == SOFT_LABEL:
        shares = sorted(zip(labels, value, strict=True), key=lambda each: -each[1])
        return ", ".join(f"{name} {share!r}" for name, share in shares if share)
    return ", ".join(repr(number) for number in value)
