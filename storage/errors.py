"""The one exception of this room."""

from __future__ import annotations

from typing import Self


class StoreError(Exception):
    """The store cannot do what was asked; the message says where, what and how to go on."""

    @classmethod
    def at(cls, where: object, *, expected: str, got: str, remedy: str) -> Self:
        """Build the error from its four parts.

        >>> print(StoreError.at("run.json", expected="a record", got="a list", remedy="Mend it."))
        run.json: expected a record, got a list. Mend it.
        """
        return cls(f"{where}: expected {expected}, got {got}. {remedy}")
