"""Error for a property of a file that its bytes do not decide, with the study key that does."""

from tasks.study.errors import Problem


class UndecidedError(ValueError):
    """Error for an ambiguous or contradicted separator, decimal mark, encoding or sheet.

    Args:
        key: Key of `[train]` and `[queries]` that decides it.
        expected: Value or state that is expected.
        got: Value or state of the file.
        remedy: Change that fixes the problem.
    """

    def __init__(self, key: str, expected: str, got: str, remedy: str) -> None:
        super().__init__(key, expected, got, remedy)
        self.key, self.expected, self.got, self.remedy = key, expected, got, remedy

    def __str__(self) -> str:
        return f"{self.got} ({self.remedy})"

    def make_problem(self, role: str) -> Problem:
        """Make the problem of a section, train or queries."""
        return Problem(f"[{role}] {self.key}", self.expected, self.got, self.remedy)
