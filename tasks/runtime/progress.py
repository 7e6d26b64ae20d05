"""Progress of long work: a stage with its units, and examples that report when they are read."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor

from fastif import Examples
from fastif.data.examples import Batch, WrappedExamples
from tasks.runtime.progress_board import BOARD
from tasks.runtime.progress_state import Stage

READS = "row reads"
"""Unit of stages that read rows more than once."""
WrapExamples = Callable[[Examples], Examples]
Advance = Callable[[int], None]


class ProgressExamples(WrappedExamples):
    """Examples that report progress whenever a batch is taken.

    Args:
        examples: Examples to read.
        advance: Function that receives the number of examples just taken.
        is_distinct: Whether an example counts only when it is taken for the first time.
    """

    def __init__(self, examples: Examples, advance: Advance, is_distinct: bool = False) -> None:
        super().__init__(examples)
        self.advance = advance
        self._unread = torch.ones(len(examples), dtype=torch.bool) if is_distinct else None

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        batch = self.examples.take(ids)
        if self._unread is None:
            self.advance(len(ids))
        else:
            self.advance(int(self._unread[ids].sum()))
            self._unread[ids] = False
        return batch


class ObservedExamples(WrappedExamples):
    """Examples that report to the part of a stage that is open in the reading thread, if any."""

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        batch = self.examples.take(ids)
        advance: Advance | None = getattr(_open_part, "advance", None)
        if advance is not None:
            advance(len(ids))
        return batch


_open_part = threading.local()


def print_line(text: str) -> None:
    """Print one line to standard error."""
    BOARD.print_line(text)


@contextmanager
def progress_stage(
    name: str, total: int | None, unit: str = "rows", *, is_distinct: bool = False
) -> Iterator[WrapExamples]:
    """Show the progress of a stage; yield a function that wraps its examples.

    Args:
        name: Name of the stage.
        total: Number of examples; None if unknown.
        unit: Name of the examples, in the plural.
        is_distinct: Whether an example counts only when it is taken for the first time.
    """
    with progress_bar(name, total, unit) as advance:
        yield lambda examples: ProgressExamples(examples, advance, is_distinct)


@contextmanager
def progress_bar(
    name: str, total: int | None, unit: str, *, is_part: bool = False, is_upper_bound: bool = False
) -> Iterator[Advance]:
    """Show the progress of a stage; yield a function to call with the number of units just done.

    Args:
        name: Name of the stage.
        total: Number of units; None if unknown.
        unit: Name of the units, in the plural.
        is_part: Whether the stage is a step of another one, so its end gets no line.
        is_upper_bound: Whether the total is the most units that there may be.
    """
    with BOARD.open(Stage(name, total, unit, is_part, is_upper_bound=is_upper_bound)) as stage:
        yield partial(BOARD.advance, stage)


@contextmanager
def progress_part(name: str, unit: str = "rows") -> Iterator[None]:
    """Show the examples that this thread reads in the block as a part of the open stage.

    Args:
        name: Name of the part.
        unit: Name of the examples, in the plural.
    """
    with progress_bar(name, None, unit, is_part=True) as advance:
        _open_part.advance = advance
        try:
            yield
        finally:
            _open_part.advance = None


def join_part() -> Callable[[], AbstractContextManager[None]]:
    """Return a context manager for other threads, whose reads count in this thread's open part."""
    advance: Advance | None = getattr(_open_part, "advance", None)

    @contextmanager
    def join() -> Iterator[None]:
        _open_part.advance = advance
        try:
            yield
        finally:
            _open_part.advance = None

    return join
