"""Timer of the stages of an audit; time is credited to the innermost open stage."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


class StageTimer:
    """Seconds of named stages; a nested stage pauses the outer one.

    Stages can be opened in any thread of the process: a flow waits for its tasks, so the stage that
    was opened last is the active one.

    Args:
        now: Function that returns the current time in seconds.

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
        """Reset all measured times."""
        self._spent: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Credit the time of the block to this stage, except for nested stages."""
        self._credit_elapsed()
        self._open.append(name)
        self._spent.setdefault(name, 0)
        try:
            yield
        finally:
            self._credit_elapsed()
            if name in self._open:  # it is missing if the timer was restarted in the meantime
                self._open.remove(name)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each stage, in the order in which the stages were first opened."""
        return dict(self._spent)

    @property
    def current(self) -> str:
        """Name of the innermost open stage; empty if none is open."""
        return next(reversed(self._open[:]), "")

    def _credit_elapsed(self) -> None:
        """Credit the time since the last change to the innermost stage."""
        with self._lock:
            now = self._now()
            if self._open:
                self._spent[self._open[-1]] += now - self._since
            self._since = now


STAGE_TIMER = StageTimer()
"""Timer of this process, in which one audit runs at a time."""


def time_stage(name: str) -> AbstractContextManager[None]:
    """Open a stage of this process's timer; flows are pickled, so they hold no timer themselves."""
    return STAGE_TIMER.stage(name)
