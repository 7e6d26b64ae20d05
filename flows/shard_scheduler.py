"""Scheduler that submits shards to workers a few at a time, until a deadline or a signal.

A deadline or SIGTERM ends an audit between shards: running shards finish and are committed, the
others are left for the next start.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

from prefect.futures import PrefectFuture

from flows.presence import WorkerPresence
from flows.signals import intercept_first_signal
from storage import Shard
from tasks.runtime.progress import print_line

QUEUE_AHEAD = 1
"""Number of queued shards beyond one per worker, so that workers never wait for the flow."""


class UnfinishedError(RuntimeError):
    """An audit ended before its last shard; committed shards are kept and can be read.

    Attributes:
        signal: Number of the signal that stopped it; None for a deadline.
    """

    def __init__(
        self, reason: str, done: int, planned: int, signal_number: int | None = None
    ) -> None:
        super().__init__(
            f"{reason}: {done} of {planned} shards are committed and can be read. "
            "The same command continues with the rest."
        )
        self.signal = signal_number


@dataclass
class Deadline:
    """Time budget for starting shards.

    Attributes:
        seconds: Budget in seconds from `start`; None for no limit.
        start: Monotonic time of the start.
        stop_signal: Number of the signal that requested a stop; None without one.
    """

    seconds: float | None = None
    start: float = field(default_factory=time.monotonic)
    stop_signal: int | None = None

    def find_stop_reason(self, expected: float) -> str:
        """Reason not to start a shard of `expected` seconds; empty if it can start."""
        if self.stop_signal is not None:
            return f"Stopped by {signal.Signals(self.stop_signal).name}"
        remaining = None if self.seconds is None else self.start + self.seconds - time.monotonic()
        if remaining is None or expected < remaining:
            return ""
        return f"No further shard would finish within {self.seconds / 60:g} minutes"  # type: ignore[operator]


@dataclass
class ShardScheduler:
    """Runs shards on workers within a time budget.

    Args:
        submit: Function that submits a shard to a worker.
        count_workers: Function that returns the number of workers, called before each shard.
        deadline: Time budget, and the signal to stop.

    Attributes:
        failed: Failed shards with their exceptions, in the order of failure.
        remaining: Shards that were not started.
        stop_reason: Reason why they were not; empty if all were started.
    """

    submit: Callable[[Shard], PrefectFuture]
    count_workers: Callable[[], int]
    deadline: Deadline
    failed: list[tuple[Shard, Exception]] = field(default_factory=list)
    remaining: deque[Shard] = field(default_factory=deque)
    stop_reason: str = ""

    def run(self, shards: Sequence[Shard]) -> Iterator[Shard]:
        """Yield each shard as soon as it is committed; a failure does not stop the others."""
        self.remaining = deque(shards)
        completed: SimpleQueue[tuple[Shard, PrefectFuture]] = SimpleQueue()
        start = time.monotonic()
        running = finished = 0
        presence = WorkerPresence(self.count_workers)
        with graceful_shutdown(self.deadline):
            while True:
                workers = max(1, self.count_workers())
                seconds_per_shard = (
                    (time.monotonic() - start) * workers / finished if finished else 0.0
                )
                rounds = 1 + running // workers
                while self.remaining and running < workers + QUEUE_AHEAD:
                    self.stop_reason = self.stop_reason or self.deadline.find_stop_reason(
                        rounds * seconds_per_shard
                    )
                    if self.stop_reason or not self._submit_next(completed):
                        break
                    running += 1
                if not running:
                    return
                shard, future = presence.wait(completed)
                running -= 1
                finished += 1
                if self._check_result(shard, future):
                    yield shard

    def _submit_next(self, completed: "SimpleQueue[tuple[Shard, PrefectFuture]]") -> bool:
        shard = self.remaining.popleft()
        try:
            future = self.submit(shard)
        except Exception as error:  # the scheduler of the cluster stopped
            self.failed.append((shard, error))
            self.stop_reason = "No more shards could be submitted"
            return False
        future.add_done_callback(lambda finished: completed.put((shard, finished)))
        return True

    def _check_result(self, shard: Shard, future: PrefectFuture) -> bool:
        try:
            future.result()
        except Exception as error:  # of the task or its worker; raised at the end
            self.failed.append((shard, error))
            return False
        return True


@contextmanager
def graceful_shutdown(deadline: Deadline) -> Iterator[None]:
    """Turn the first SIGTERM or SIGINT in the block into a request to stop between shards."""

    def request_stop(number: int) -> None:
        deadline.stop_signal = number
        print_line(
            f"{signal.Signals(number).name}: stopping after the running shards; what is committed "
            "is kept. Press Ctrl-C again to stop immediately."
        )

    with intercept_first_signal(request_stop):
        yield
