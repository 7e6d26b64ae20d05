"""The one error a caller of the library is meant to catch."""


class InputError(ValueError):
    """What was given cannot be used; says what was expected, what came, what to change."""

    def __init__(self, where: str, expected: str, got: str, remedy: str) -> None:
        self.where, self.expected, self.got, self.remedy = where, expected, got, remedy
        super().__init__(where, expected, got, remedy)  # all four, so that it can be pickled

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}; got {self.got}. {self.remedy}"
