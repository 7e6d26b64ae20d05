"""Sentence of a file with a tag for each word, and the refusal of a file of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.study.errors import Problem, StudyError

MAX_PROBLEMS = 20
"""Largest number of problems of a file that are listed; the others are counted."""


@dataclass(frozen=True)
class TaggedSentence:
    """Sentence of a file with a tag for each word.

    Attributes:
        id: Id of the sentence: that of the file, or its number in it.
        words: Words of the sentence.
        tags: Tag of each word.
        place: Place in the file for messages, such as "line 12".
        position: Number of its first line (CoNLL) or of its record in the file, from 0.
        document: Document that the sentence is part of; None if the file has none.
    """

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...]
    place: str
    position: int
    document: str | None = None


def raise_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Refuse a file with problems; those beyond the first ones are counted.

    Raises:
        StudyError: There are problems.
    """
    if len(problems) > MAX_PROBLEMS:
        remaining = f"{len(problems) - MAX_PROBLEMS:,} more places with problems"
        rest = Problem("file", "none", remaining, "correct those above first")
        problems = [*problems[:MAX_PROBLEMS], rest]
    if problems:
        raise StudyError(path, problems)
