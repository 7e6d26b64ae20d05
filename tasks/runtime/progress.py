"""Progress of long work: bars on a terminal, a line every 10 seconds elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jaxtyping import Int
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from fastif import Examples
from fastif.data.examples import Batch, WrappedExamples

LINE_INTERVAL = 10.0
"""Seconds between progress lines where there is no terminal."""

WrapExamples = Callable[[Examples], Examples]
Advance = Callable[[int], None]


class ProgressExamples(WrappedExamples):
    """Examples that report progress whenever a batch is taken."""

    def __init__(self, examples: Examples, advance: Advance) -> None:
        super().__init__(examples)
        self.advance = advance

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        batch = self.examples.take(ids)
        self.advance(len(ids))
        return batch


def print_line(text: str) -> None:
    """Print one line to standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress_stage(name: str, total: int | None) -> Iterator[WrapExamples]:
    """Show the progress of a stage; yield a function that wraps its examples.

    Args:
        name: Name of the stage.
        total: Number of examples; None if unknown.
    """
    with progress_bar(name, total) as advance:
        yield lambda examples: ProgressExamples(examples, advance)


@contextmanager
def progress_bar(name: str, total: int | None) -> Iterator[Advance]:
    """Show the progress of a stage; yield a function to call with the number of units just done.

    Args:
        name: Name of the stage.
        total: Number of units; None if unknown.
    """
    yield from _show_bar(name, total) if sys.stderr.isatty() else _print_lines(name, total)


_display: Progress | None = None
_open = 0
_lock = threading.Lock()


def _show_bar(name: str, total: int | None) -> Iterator[Advance]:
    """Show a bar in the display that all stages share, since stages of threads overlap."""
    global _display, _open
    with _lock:
        if _display is None:
            _display = Progress(
                TextColumn("{task.description:<34}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=Console(stderr=True),
            )
            _display.start()
        _open += 1
        display, bar_id = _display, _display.add_task(name, total=total)
    try:
        yield lambda count: display.advance(bar_id, count)
    finally:
        with _lock:
            display.update(bar_id, total=display.tasks[bar_id].completed)
            _open -= 1
            if _open == 0:
                display.stop()
                _display = None


def _print_lines(name: str, total: int | None) -> Iterator[Advance]:
    start = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= LINE_INTERVAL:
            last = now
            progress = f"{done}/{total}" if total else str(done)
            print(f"{name}: {progress}, {now - start:.0f} s", file=sys.stderr, flush=True)

    yield advance
    elapsed = time.monotonic() - start
    print(f"{name}: {done} done in {elapsed:.1f} s", file=sys.stderr, flush=True)
