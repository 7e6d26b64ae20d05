"""One mutant, and how it is put into a tree and taken out again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class StaleError(Exception):
    """The snippet is not in the file exactly once."""


@dataclass(frozen=True)
class Mutant:
    """A wrong change of one place.

    Attributes:
        name: says what is wrong.
        file: below the root.
        old: a snippet that the file has once.
        new: what stands there instead.
        tests: files, or file::test, of which at least one has to fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @contextmanager
    def applied(self, root: Path) -> Iterator[None]:
        """The tree with the mutant in it.

        Raises:
            StaleError: the snippet is not there once.
        """
        path = root / self.file
        text = path.read_text() if path.exists() else ""
        if text.count(self.old) != 1:
            raise StaleError(f"{self.file} has it {text.count(self.old)} times: {self.old!r}")
        path.write_text(text.replace(self.old, self.new))
        try:
            yield
        finally:
            path.write_text(text)
