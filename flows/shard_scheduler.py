"""Shards given to workers a few at a time, until none is left or no more are to begin.

So a deadline, or a polite signal, ends an audit between shards: what is in work is finished and
committed, the rest is left for the next start.
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import FrameType

from prefect.futures import PrefectFuture

from flows.presence import WorkerPresence
from storage import Shard
from tasks.runtime.progress import print_line

QUEUE_AHEAD = 1
"""Shards given out beyond one for each worker, so that none has to wait for the flow."""


class UnfinishedError(RuntimeError):
    """An audit that ended before its last shard. Everything committed is kept and can be read.

    Attributes:
        signal: the number of the signal that asked for it; None for a deadline.
    """

    def __init__(
        self, reason: str, done: int, planned: int, signal_number: int | None = None
    ) -> None:
        super().__init__(
            f"{reason}: {done} of {planned} shards are committed and can be read. "
            "The same command goes on with the rest."
        )
        self.signal = signal_number


@dataclass
class Deadline:
    """Until when shards may begin.

    Attributes:
        seconds: from now; None for ever.
        start: when.
        stop_signal: number of the signal that asked to stop; None if none did.
    """

    seconds: float | None = None
    start: float = field(default_factory=time.monotonic)
    stop_signal: int | None = None

    def find_stop_reason(self, expected: float) -> str:
        """Why a shard that is expected to take so many seconds is not to begin; empty if it is."""
        if self.stop_signal is not None:
            return f"Stopped by {signal.Signals(self.stop_signal).name}"
        remaining = None if self.seconds is None else self.start + self.seconds - time.monotonic()
        if remaining is None or expected < remaining:
            return ""
        return f"No other shard would end within {self.seconds / 60:g} minutes"  # type: ignore[operator]


@dataclass
class ShardScheduler:
    """A pass over shards.

    Args:
        submit: gives one to a worker.
        count_workers: how many there are, asked before each shard: a cluster may grow.
        deadline: until when.

    Attributes:
        failed: what could not be done, in the order in which it failed.
        remaining: shards that were not begun.
        stop_reason: they were not; empty if all were.
    """

    submit: Callable[[Shard], PrefectFuture]
    count_workers: Callable[[], int]
    deadline: Deadline
    failed: list[tuple[Shard, Exception]] = field(default_factory=list)
    remaining: deque[Shard] = field(default_factory=deque)
    stop_reason: str = ""

    def run(self, shards: Sequence[Shard]) -> Iterator[Shard]:
        """Each shard that is committed, as soon as it is; a failure does not end the others."""
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
        except Exception as error:  # whoever gives work to workers is gone, and takes no more
            self.failed.append((shard, error))
            self.stop_reason = "No more shards could be given out"
            return False
        future.add_done_callback(lambda finished: completed.put((shard, finished)))
        return True

    def _check_result(self, shard: Shard, future: PrefectFuture) -> bool:
        try:
            future.result()
        except Exception as error:  # whatever a task or its worker died of; raised at the end
            self.failed.append((shard, error))
            return False
        return True


@contextmanager
def graceful_shutdown(deadline: Deadline) -> Iterator[None]:
    """For the length of the block the first SIGTERM or SIGINT only asks to stop.

    The second does what either did before. Elsewhere than in the main thread, where Python has no
    handlers, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def request_stop(number: int, _frame: FrameType | None) -> None:
        deadline.stop_signal = number
        for other, handler in handlers.items():
            signal.signal(other, handler)
        print_line("Stopping: shards in work are finished first. Once more to stop at once.")

    for number in handlers:
        signal.signal(number, request_stop)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
