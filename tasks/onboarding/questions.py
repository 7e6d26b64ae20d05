"""Questions that only the user can answer, and answers given without a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Question:
    """Choice between several plausible values of a study key.

    Attributes:
        key: Key of the study that is open, such as "[train] text".
        prompt: Question to the user.
        options: Descriptions of the plausible values, the most probable one first.
    """

    key: str
    prompt: str
    options: Sequence[str]


class Answers(Protocol):
    """Source of answers: a terminal, or the best guess."""

    @property
    def are_certain(self) -> bool:
        """Whether a person gives the answers."""
        ...

    def choose(self, question: Question) -> int:
        """Return the position of the chosen option."""
        ...


class BestGuesses:
    """Answers without a terminal: always the most probable option, to be checked later."""

    are_certain = False

    def choose(self, question: Question) -> int:
        """Return the position of the most probable option."""
        return 0


@dataclass(frozen=True)
class Reason:
    """Explanation of an inferred value.

    Attributes:
        text: Source of the value, as a comment of the study.
        alternatives: Other plausible values, if the value should be checked.
        doubt: Evidence against the value, if it should be checked; empty if there is none.
    """

    text: str = ""
    alternatives: tuple[str, ...] = ()
    doubt: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the value should be checked."""
        return bool(self.alternatives or self.doubt)
