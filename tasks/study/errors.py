"""StudyError: all problems of a study in one error, each with place, expectation and remedy."""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike

from tasks.study.spelling import describe_difference, fold_name


@dataclass(frozen=True)
class Problem:
    """One problem of a study.

    Attributes:
        where: Key, section or column with the problem.
        expected: Value or state that is expected there.
        got: Value or state that was found.
        remedy: Change that fixes the problem.
    """

    where: str
    expected: str
    got: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"  {self.where}\n"
            f"    expected: {self.expected}\n"
            f"    got:      {self.got}\n"
            f"    remedy:   {self.remedy}"
        )


class StudyError(ValueError):
    """Error with every problem found in one file of a study.

    The problems are available as records, so that a caller can format them differently.
    """

    def __init__(self, file: str | PathLike[str], problems: Sequence[Problem]) -> None:
        # Arguments instead of a message: unpickling an exception calls its class with them.
        super().__init__(str(file), tuple(problems))
        self.file = str(file)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.file}: {count} problem{'s' if count != 1 else ''}"
        return "\n".join([head, *map(str, self.problems)])


def suggest(word: str, options: Iterable[str]) -> str:
    """Return `did you mean "x"?` for the option closest to a word, or an empty string.

    >>> suggest("dampign", ["kind", "damping"])
    'did you mean "damping"?'
    >>> suggest("zebra", ["kind", "damping"])
    ''
    """
    folded = {option.casefold(): option for option in options}
    matches = difflib.get_close_matches(word.casefold(), folded, n=1)
    matches = matches or [name for name in folded if fold_name(name) == fold_name(word)]
    if not matches:
        return ""
    difference = describe_difference(word, folded[matches[0]])
    hint = f" It has {difference}." if difference else ""
    return f"did you mean {format_value(folded[matches[0]])}?{hint}"


def format_value(value: object, width: int = 80) -> str:
    """Format a value as in the file, truncated to a width.

    >>> format_value(True), format_value("a"), format_value([1, 2])
    ('true', '"a"', '[1, 2]')
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= width else text[: width - 3] + "..."


def join_some(words: Iterable[str], limit: int = 12) -> str:
    """Join words by commas, at most `limit` of them, and count the others.

    >>> join_some("abc", limit=2)
    'a, b and 1 more'
    """
    words = list(words)
    remaining = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {remaining} more" if remaining > 0 else "")
