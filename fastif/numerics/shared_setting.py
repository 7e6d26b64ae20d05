"""Setting of a process that several threads hold at once, if they need the same value."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class SharedSetting:
    """Lock of a process-wide setting: threads share one value, and wait for the other.

    A thread that waits goes before later threads, so that no value can starve the other. The value
    from before the first thread comes back after the last.

    Args:
        read: Function that returns the present value.
        write: Function that sets the value.

    Examples:
        >>> value = [False]
        >>> setting = SharedSetting(lambda: value[0], lambda new: value.__setitem__(0, new))
        >>> with setting.use(True):
        ...     value
        [True]
        >>> value
        [False]
    """

    def __init__(self, read: Callable[[], bool], write: Callable[[bool], None]) -> None:
        self._read, self._write = read, write
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._users, self._before = 0, False
        self._local = threading.local()

    @contextmanager
    def use(self, value: bool) -> Iterator[None]:
        """Hold a value in this thread; a block within gives it up for its own."""
        outer: bool | None = getattr(self._local, "value", None)
        if outer == value:
            yield
            return
        self._hold(value)
        try:
            yield
        finally:
            self._hold(outer)

    def _hold(self, value: bool | None) -> None:
        """Hold this value instead of the present one; None holds nothing."""
        if getattr(self._local, "value", None) is not None:
            self._local.value = None
            self._release()
        if value is not None:
            self._acquire(value)
            self._local.value = value

    def _acquire(self, value: bool) -> None:
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                self._changed.wait_for(lambda: self._may_enter(ticket, value))
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()
            if self._users == 0:
                self._before = self._read()
                self._write(value)
            self._users += 1

    def _may_enter(self, ticket: object, value: bool) -> bool:
        return self._queue[0] is ticket and (self._users == 0 or self._read() == value)

    def _release(self) -> None:
        with self._changed:
            self._users -= 1
            if self._users == 0:
                self._write(self._before)
            self._changed.notify_all()
