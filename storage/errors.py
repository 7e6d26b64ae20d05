"""The one exception of this room."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot do what was asked; says what was expected, what came, what to change.

    >>> print(StoreError("run.json", expected="a record", got="a list", remedy="Mend it."))
    run.json: expected a record; got a list. Mend it.
    """

    def __init__(self, where: object, expected: str, got: str, remedy: str) -> None:
        self.where, self.expected, self.got, self.remedy = str(where), expected, got, remedy
        super().__init__(self.where, expected, got, remedy)  # all four, so that it can be pickled

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}; got {self.got}. {self.remedy}"
