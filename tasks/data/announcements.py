"""Announcement of the notes on a table: a line on standard error, once in a process."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tasks.runtime.progress_board import BOARD

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)
_announced: set[str] = set()


def announce_notes(notes: Iterable[str]) -> None:
    """Print notes that this process has not printed yet, or add them to the collected ones."""
    collected = _collected.get()
    for note in notes:
        if collected is not None:
            collected += [note] if note not in collected else []
        elif note not in _announced:
            _announced.add(note)
            BOARD.print_line(note)


@contextmanager
def collect_notes() -> Iterator[list[str]]:
    """Collect notes in a list instead of printing them."""
    token = _collected.set(notes := [])
    try:
        yield notes
    finally:
        _collected.reset(token)


def escape_unprintable(text: str) -> str:
    r"""Replace control and format characters, which may be in names of columns, by their codes.

    >>> escape_unprintable("a\x1bb")
    'a\\u001bb'
    """
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
