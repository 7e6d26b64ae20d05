"""Waiting for results of workers, with a timeout if no worker is left."""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from fastif import InputError
from tasks.runtime.progress import print_line

T = TypeVar("T")

POLL_SECONDS = 2.0
"""Seconds between checks of the number of workers."""
GONE_SECONDS = 20.0
"""Seconds without any worker after which an audit ends; until then one may be restarting."""


class WorkerPresence:
    """Waits for results as long as there are workers.

    Args:
        count: Function that returns the number of tasks that can run simultaneously.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._gone_since: float | None = None

    def wait(self, results: "SimpleQueue[T]") -> T:
        """Return the next result.

        Raises:
            InputError: there was no worker for `GONE_SECONDS` seconds.
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
                f"none for {GONE_SECONDS:.0f} s: all workers have died, see their logs",
                "Start workers, or use --engine threads. Committed shards are kept; the same "
                "command continues from there.",
            )
