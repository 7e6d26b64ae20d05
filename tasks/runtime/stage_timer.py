"""Where the time of an audit goes: every second belongs to the innermost stage that is open."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


class StageTimer:
    """Seconds of named stages; what opens within a stage stops its time until it closes.

    Stages may open in any thread of the process: a flow waits for its tasks, so that of two open
    stages the later one is at work.

    Args:
        now: tells the time.

    >>> times = iter(range(0, 100, 10))
    >>> clock = StageTimer(lambda: next(times))
    >>> with clock.stage("outer"):
    ...     with clock.stage("inner"):
    ...         pass
    >>> clock.seconds
    {'outer': 20, 'inner': 10}
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._lock = now, threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Forget what was measured."""
        self._spent: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The block is this stage's, except for stages that open within it."""
        self._credit_elapsed()
        self._open.append(name)
        self._spent.setdefault(name, 0)
        try:
            yield
        finally:
            self._credit_elapsed()
            if name in self._open:  # not if the clock was started anew in the meantime
                self._open.remove(name)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage that was open at all, in the order in which they first were."""
        return dict(self._spent)

    def _credit_elapsed(self) -> None:
        """Credit the time since the last turn to the innermost stage."""
        with self._lock:
            now = self._now()
            if self._open:
                self._spent[self._open[-1]] += now - self._since
            self._since = now


STAGE_TIMER = StageTimer()
"""That of this process, in which one audit works at a time."""


def time_stage(name: str) -> AbstractContextManager[None]:
    """A stage of this process's clock; a flow, which travels to its workers, holds no clock."""
    return STAGE_TIMER.stage(name)
