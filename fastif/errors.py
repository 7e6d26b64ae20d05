"""InputError: the exception that the library raises for input it cannot use."""


class InputError(ValueError):
    """Invalid input: states the problem, what was expected, what was given, and the remedy.

    Attributes:
        where: Name of the argument, study key or table that is invalid.
        expected: Description of valid input.
        got: Description of the given input.
        remedy: Change that makes the input valid, a full sentence.

    Examples:
        >>> print(InputError("k", "1 or more", "0", "Raise it."))
        k: expected 1 or more; got 0. Raise it.
    """

    def __init__(self, where: str, expected: str, got: str, remedy: str) -> None:
        self.where, self.expected, self.got, self.remedy = where, expected, got, remedy
        super().__init__(where, expected, got, remedy)  # all four, so that it can be pickled

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}; got {self.got}. {self.remedy}"
