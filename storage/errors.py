"""The exception of the package."""

from __future__ import annotations


class StoreError(Exception):
    """Failure of a store operation, with the expected and actual state and a remedy.

    Attributes:
        where: Path, table or run at fault.
        expected: State that the operation needs.
        got: State that was found.
        remedy: Action that the user can take.

    Examples:
        >>> print(StoreError("run.json", expected="a record", got="a list", remedy="Restore it."))
        run.json: expected a record; got a list. Restore it.
    """

    def __init__(self, where: object, expected: str, got: str, remedy: str) -> None:
        self.where, self.expected, self.got, self.remedy = str(where), expected, got, remedy
        super().__init__(self.where, expected, got, remedy)  # all four arguments, for pickle

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}; got {self.got}. {self.remedy}"
