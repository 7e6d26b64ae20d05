"""Checks of numbers on a device, read once for many batches instead of once for each.

A read of one number makes the host wait until the device has done all work before it, and then the
device waits for the host. So a sweep over many batches assumes that its checks hold, collects them
on the device, and reads them together. A sweep of which one failed is thrown away and repeated with
checks that are read at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from jaxtyping import Bool
from torch import Tensor


class DeferredChecks:
    """Conjunction of conditions on a device that were assumed and not yet read.

    Args:
        device: Device of the conditions.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._verdict = torch.ones((), dtype=torch.bool, device=device)

    def add(self, condition: Bool[Tensor, "*x"]) -> None:
        """Add a condition, without reading it."""
        self._verdict.logical_and_(condition.all())

    def read(self) -> bool:
        """Wait for the device, and return whether all conditions so far hold."""
        return bool(self._verdict)


_deferred: ContextVar[DeferredChecks | None] = ContextVar("_deferred", default=None)


@contextmanager
def defer_checks(device: torch.device) -> Iterator[DeferredChecks]:
    """Context manager in which `assume_all` collects the conditions of this thread on a device."""
    checks = DeferredChecks(device)
    token = _deferred.set(checks)
    try:
        yield checks
    finally:
        _deferred.reset(token)


def is_deferred(device: torch.device) -> bool:
    """Whether checks on a device are deferred; those on the CPU never are."""
    checks = _deferred.get()
    return checks is not None and device == checks.device and device.type != "cpu"


def assume_all(condition: Bool[Tensor, "*x"]) -> bool:
    """Whether all entries of a condition hold; within `defer_checks` this is assumed.

    To be used where the other answer is rare, and leads to an error or to a slower way.

    Examples:
        >>> assume_all(torch.tensor([True, False]))
        False
    """
    checks = _deferred.get()
    if checks is None or not is_deferred(condition.device):
        return bool(condition.all())
    checks.add(condition)
    return True
