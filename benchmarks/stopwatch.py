"""Seconds of a piece of work, and the number of threads that does it faster."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def time_call(work: Callable[[], T]) -> tuple[T, float]:
    """The result of the work, and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def faster_threads(work: Callable[[], object]) -> int:
    """Set one thread or all, whichever does the work faster: a batch of one may not fill a core."""
    everything = torch.get_num_threads()
    seconds = {}
    for threads in (everything, 1, everything, 1):  # the first turns warm up
        torch.set_num_threads(threads)
        seconds[threads] = time_call(work)[1]
    best = min(seconds, key=seconds.__getitem__)
    torch.set_num_threads(best)
    return best
