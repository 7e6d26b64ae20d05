"""Waiting for tasks of workers that may all be gone: an audit never waits for nobody."""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from fastif import InputError
from tasks.runtime.progress import say

T = TypeVar("T")

LOOK = 2.0
"""Seconds between looks at who is left."""
GONE = 20.0
"""Seconds without any worker after which an audit ends; one that died may be starting anew."""


class Presence:
    """Whether there is anybody to wait for.

    Args:
        count: tells how many tasks can be worked on at once.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._gone_since: float | None = None

    def get(self, ended: "SimpleQueue[T]") -> T:
        """The next that ends.

        Raises:
            InputError: no worker has been there for `GONE` seconds.
        """
        while True:
            try:
                found = ended.get(timeout=LOOK)
            except Empty:
                self._look()
            else:
                self._gone_since = None
                return found

    def _look(self) -> None:
        if self._count():
            self._gone_since = None
            return
        now = time.monotonic()
        if self._gone_since is None:
            self._gone_since = now
            say(f"No worker is left. Waiting {GONE:.0f} s for one to come back.")
        elif now - self._gone_since >= GONE:
            raise InputError(
                "engine",
                "a worker that takes tasks",
                f"none for {GONE:.0f} s: those that were there have died, as their log says",
                "Start workers, or take --engine threads. What was committed is kept; the same "
                "command goes on from there.",
            )
