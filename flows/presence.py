"""Waiting for tasks of workers that may all be gone: an audit never waits for nobody."""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from fastif import InputError
from tasks.runtime.progress import print_line

T = TypeVar("T")

POLL_SECONDS = 2.0
"""Seconds between looks at who is left."""
GONE_SECONDS = 20.0
"""Seconds without any worker after which an audit ends; one that died may be starting anew."""


class WorkerPresence:
    """Whether there is anybody to wait for.

    Args:
        count: tells how many tasks can be worked on at once.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._gone_since: float | None = None

    def wait(self, results: "SimpleQueue[T]") -> T:
        """The next that ends.

        Raises:
            InputError: no worker has been there for `GONE_SECONDS` seconds.
        """
        while True:
            try:
                result = results.get(timeout=POLL_SECONDS)
            except Empty:
                self._check_workers()
            else:
                self._gone_since = None
                return result

    def _check_workers(self) -> None:
        if self._count():
            self._gone_since = None
            return
        now = time.monotonic()
        if self._gone_since is None:
            self._gone_since = now
            print_line(f"No worker is left. Waiting {GONE_SECONDS:.0f} s for one to come back.")
        elif now - self._gone_since >= GONE_SECONDS:
            raise InputError(
                "engine",
                "a worker that takes tasks",
                f"none for {GONE_SECONDS:.0f} s: those that were there have died, as their log "
                "says",
                "Start workers, or take --engine threads. What was committed is kept; the same "
                "command goes on from there.",
            )
