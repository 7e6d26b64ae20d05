"""Seconds and peak additional memory of a block."""

import ctypes
import os
import threading
import time
from pathlib import Path
from typing import Self

STATM = Path("/proc/self/statm")
EVERY = 0.01
"""Seconds between two samples."""


class MemoryMonitor:
    """Samples the resident memory of this process while a block runs.

    Freed memory is first returned to the system, so that the block cannot reuse it unmeasured.
    Linux only: elsewhere `megabytes` is None. The seconds are those of the block alone.

    >>> with MemoryMonitor() as watch:
    ...     block = bytearray(10)
    >>> watch.megabytes is None or watch.megabytes >= 0
    True
    """

    def __enter__(self) -> Self:
        _give_back()
        self._before = self._most = _resident()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self._most = max(self._most, _resident())
        self._ended.set()
        self._thread.join()

    @property
    def megabytes(self) -> float | None:
        """Peak memory within the block beyond that before it."""
        return (self._most - self._before) / 10**6 if STATM.is_file() else None

    def _look(self) -> None:
        while not self._ended.wait(EVERY):
            self._most = max(self._most, _resident())


def _resident() -> int:
    if not STATM.is_file():
        return 0
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _give_back() -> None:
    """Return freed memory to the system, else the allocator reuses it unmeasured."""
    if STATM.is_file():
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
