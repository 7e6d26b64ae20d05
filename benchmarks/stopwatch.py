"""Timing of a call, and the faster number of threads for it."""

import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def time_call(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result of a call and its wall seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def faster_threads(work: Callable[[], object]) -> int:
    """Set and return one thread or all, whichever is faster: small batches may not use a core."""
    everything = torch.get_num_threads()
    seconds = {}
    for threads in (everything, 1, everything, 1):  # the first two warm up
        torch.set_num_threads(threads)
        seconds[threads] = time_call(work)[1]
    best = min(seconds, key=seconds.__getitem__)
    torch.set_num_threads(best)
    return best
