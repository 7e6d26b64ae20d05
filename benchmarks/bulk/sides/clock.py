"""Timing of the parts of a side."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Records wall seconds and CPU seconds of each part.

    >>> clock = Clock()
    >>> clock.time("sum", lambda: 1 + 1)
    2
    >>> sorted(clock.parts["sum"])
    ['cpu', 'wall']
    """

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}

    def time(self, name: str, work: Callable[[], T]) -> T:
        """Return the result of a call and add its seconds to the part `name`."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        part = self.parts.setdefault(name, {"wall": 0.0, "cpu": 0.0})
        part["wall"] += time.perf_counter() - wall
        part["cpu"] += time.process_time() - cpu
        return result
