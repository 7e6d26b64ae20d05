"""What a user has to change: problems, listed together in one error."""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike

from tasks.study.spelling import describe_difference


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is, what was expected there, what came, what to change."""

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
    """A study cannot be used; the message lists every problem found in one file.

    The problems stay available as records, so that a caller can show them in another form.
    """

    def __init__(self, file: str | PathLike[str], problems: Sequence[Problem]) -> None:
        # The arguments themselves, not the message: an exception that crosses a process is
        # rebuilt from them.
        super().__init__(str(file), tuple(problems))
        self.file = str(file)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.file}: {count} problem{'s' if count != 1 else ''}"
        return "\n".join([head, *map(str, self.problems)])


def suggest(word: str, options: Iterable[str]) -> str:
    """The question `did you mean "x"?` for the option nearest to a word, or an empty text.

    >>> suggest("dampign", ["kind", "damping"])
    'did you mean "damping"?'
    >>> suggest("zebra", ["kind", "damping"])
    ''
    """
    folded = {option.casefold(): option for option in options}
    matches = difflib.get_close_matches(word.casefold(), folded, n=1)
    if not matches:
        return ""
    difference = describe_difference(word, folded[matches[0]])
    hint = f" It has {difference}." if difference else ""
    return f"did you mean {format_value(folded[matches[0]])}?{hint}"


def format_value(value: object, width: int = 80) -> str:
    """A value as it is written in the file, cut to a width.

    >>> format_value(True), format_value("a"), format_value([1, 2])
    ('true', '"a"', '[1, 2]')
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= width else text[: width - 3] + "..."


def join_some(words: Iterable[str], limit: int = 12) -> str:
    """Words in a row, at most so many of them.

    >>> join_some("abc", limit=2)
    'a, b and 1 more'
    """
    words = list(words)
    remaining = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {remaining} more" if remaining > 0 else "")
