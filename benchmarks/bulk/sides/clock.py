"""Seconds of the parts of a side."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Clock:
    """Notes what each part took, by the wall and of all cores.

    >>> clock = Clock()
    >>> clock.time("sum", lambda: 1 + 1)
    2
    >>> sorted(clock.parts["sum"])
    ['cpu', 'wall']
    """

    def __init__(self) -> None:
        self.parts: dict[str, dict[str, float]] = {}

    def time(self, name: str, work: Callable[[], T]) -> T:
        """The result of the work; its seconds are added to those of that name."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        part = self.parts.setdefault(name, {"wall": 0.0, "cpu": 0.0})
        part["wall"] += time.perf_counter() - wall
        part["cpu"] += time.process_time() - cpu
        return result
