"""Case: one malformed or unusual input, the command, and what a right answer has."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Spoil = Callable[[Path], object]
"""Function that spoils a copy of a study's folder."""

REFUSED, TAKEN, DAMAGED = (2,), (0,), (1, 2)
"""Exit codes of a refused input, of one that is taken, and of damage that `verify` reports."""


@dataclass(frozen=True)
class Case:
    """A malformed or unusual input of the command line.

    Attributes:
        kind: Kind of input, such as "tables".
        name: Description of the input.
        command: Words of the command after `fastif`.
        spoil: Function that spoils the folder before the command.
        words: Fragments that the answer must have, upper or lower case; alternatives are
            separated by "|".
        absent: Fragments that the answer must not have.
        codes: Exit codes of a right answer.
        base: Folder that is copied: "fresh", "audited", "searched" or "table".
        unprivileged: Whether the command runs without the right to override permissions.
        changes: Whether the command may change files of the folder.
    """

    kind: str
    name: str
    command: tuple[str, ...]
    spoil: Spoil
    words: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    codes: tuple[int, ...] = REFUSED
    base: str = "fresh"
    unprivileged: bool = False
    changes: bool = False

    @property
    def key(self) -> str:
        """Unique name of the case."""
        return f"{self.kind}: {self.name}"


def leave(folder: Path) -> None:
    """Change nothing."""
