"""Wishes: columns that the user names instead of having them inferred."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wishes:
    """Columns that the user names, for the tables that have them.

    Attributes:
        text: One text column or two.
        label: Label columns.
        id: Id columns.
        groups: Group columns; None to infer them.
    """

    text: Sequence[str] = ()
    label: Sequence[str] = ()
    id: Sequence[str] = ()
    groups: Sequence[str] | None = None
