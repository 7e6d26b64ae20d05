"""Work queue: one thread that computes, and a bounded number of requests that wait for it."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import torch


class BusyError(Exception):
    """The queue is full, closed, or a request has waited too long."""


class WorkQueue:
    """One thread that computes, so that memory does not grow with the number of requests.

    Args:
        waiting: Maximum number of requests that wait.
        threads: Number of threads of torch in that thread.
    """

    def __init__(self, waiting: int, threads: int) -> None:
        self._jobs: queue.Queue[tuple[Future, Callable[[], Any]] | None] = queue.Queue(waiting)
        self._threads, self._is_closed = threads, False
        self._thread = threading.Thread(target=self._run, name="fastif-lookup", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return self._jobs.qsize()

    async def compute(self, job: Callable[[], Any], seconds: float) -> Any:
        """Return the result of a job.

        Raises:
            BusyError: The queue is full or closed, or the job did not start or end in this time.
        """
        future: Future = Future()
        if self._is_closed:
            raise BusyError
        try:
            self._jobs.put_nowait((future, job))
        except queue.Full:
            raise BusyError from None
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError:
            raise BusyError from None

    def close(self, seconds: float) -> None:
        """Finish what waits, and end the thread."""
        self._is_closed = True
        try:
            self._jobs.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while (entry := self._jobs.get()) is not None:
            future, job = entry
            if not future.set_running_or_notify_cancel():
                continue  # the client has gone, or has been refused
            try:
                future.set_result(job())
            except Exception as error:  # it belongs to the request
                future.set_exception(error)
