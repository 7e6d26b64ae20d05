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

from flows.presence import Presence
from storage import Shard
from tasks.runtime.progress import say

AHEAD = 1
"""Shards given out beyond one for each worker, so that none has to wait for the flow."""


class UnfinishedError(RuntimeError):
    """An audit that ended before its last shard. Everything committed is kept and can be read.

    Attributes:
        signal: the number of the signal that asked for it; None for a deadline.
    """

    def __init__(self, why: str, done: int, planned: int, number: int | None = None) -> None:
        super().__init__(
            f"{why}: {done} of {planned} shards are committed and can be read. "
            "The same command goes on with the rest."
        )
        self.signal = number


@dataclass
class Limit:
    """Until when shards may begin.

    Attributes:
        seconds: from now; None for ever.
        began: when.
        asked: number of the signal that asked to stop; None if none did.
    """

    seconds: float | None = None
    began: float = field(default_factory=time.monotonic)
    asked: int | None = None

    def why_not(self, expected: float) -> str:
        """Why a shard that is expected to take so many seconds is not to begin; empty if it is."""
        if self.asked is not None:
            return f"Stopped by {signal.Signals(self.asked).name}"
        left = None if self.seconds is None else self.began + self.seconds - time.monotonic()
        if left is None or expected < left:
            return ""
        return f"No other shard would end within {self.seconds / 60:g} minutes"  # type: ignore[operator]


@dataclass
class Dispatch:
    """A pass over shards.

    Args:
        submit: gives one to a worker.
        workers: how many there are, asked before each shard: a cluster may grow.
        limit: until when.

    Attributes:
        failed: what could not be done, in the order in which it failed.
        left: shards that were not begun.
        why: they were not; empty if all were.
    """

    submit: Callable[[Shard], PrefectFuture]
    workers: Callable[[], int]
    limit: Limit
    failed: list[tuple[Shard, Exception]] = field(default_factory=list)
    left: deque[Shard] = field(default_factory=deque)
    why: str = ""

    def done(self, shards: Sequence[Shard]) -> Iterator[Shard]:
        """Each shard that is committed, as soon as it is; a failure does not end the others."""
        self.left = deque(shards)
        ended: SimpleQueue[tuple[Shard, PrefectFuture]] = SimpleQueue()
        begun = time.monotonic()
        running = finished = 0
        presence = Presence(self.workers)
        with graceful(self.limit):
            while True:
                workers = max(1, self.workers())
                each = (time.monotonic() - begun) * workers / finished if finished else 0.0
                rounds = 1 + running // workers
                while self.left and running < workers + AHEAD:
                    self.why = self.why or self.limit.why_not(rounds * each)
                    if self.why or not self._begun(ended):
                        break
                    running += 1
                if not running:
                    return
                shard, future = presence.get(ended)
                running -= 1
                finished += 1
                if self._succeeded(shard, future):
                    yield shard

    def _begun(self, ended: "SimpleQueue[tuple[Shard, PrefectFuture]]") -> bool:
        shard = self.left.popleft()
        try:
            future = self.submit(shard)
        except Exception as error:  # whoever gives work to workers is gone, and takes no more
            self.failed.append((shard, error))
            self.why = "No more shards could be given out"
            return False
        future.add_done_callback(lambda done: ended.put((shard, done)))
        return True

    def _succeeded(self, shard: Shard, future: PrefectFuture) -> bool:
        try:
            future.result()
        except Exception as error:  # whatever a task or its worker died of; raised at the end
            self.failed.append((shard, error))
            return False
        return True


@contextmanager
def graceful(limit: Limit) -> Iterator[None]:
    """For the length of the block the first SIGTERM or SIGINT only asks to stop.

    The second does what either did before. Elsewhere than in the main thread, where Python has no
    handlers, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, _frame: FrameType | None) -> None:
        limit.asked = number
        for each, handler in before.items():
            signal.signal(each, handler)
        say("Stopping: shards in work are finished first. Once more to stop at once.")

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
