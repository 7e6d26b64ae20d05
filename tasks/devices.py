"""Where an audit computes: each device is leased to one thread at a time."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch

from fastif import InputError
from tasks.device_names import AUTO

OVERRIDE = "FASTIF_DEVICES"
"""Variable that stands for `[run] devices` where it is set: a worker that is given one device sees
no other, and the study names those of the whole machine."""


@dataclass(frozen=True)
class Device:
    """What one worker computes on.

    Attributes:
        name: as torch has it, "cpu" or "cuda:0".
        place: which of several workers of the same device, from 0; a GPU has only one.
    """

    name: str
    place: int = 0

    @property
    def torch(self) -> torch.device:
        """The same for tensors."""
        return torch.device(self.name)

    @property
    def described(self) -> str:
        """For a person: the model of a GPU and its memory."""
        if self.torch.type != "cuda":
            return self.name
        found = torch.cuda.get_device_properties(self.torch)
        return f"{self.name} {found.name} ({found.total_memory / 2**30:.0f} GiB)"


def devices_of(names: str | Sequence[str]) -> tuple[Device, ...]:
    """The devices of `[run] devices`, one for each worker; "auto": every GPU, or else the CPU.

    Raises:
        InputError: torch does not see one of them.

    >>> devices_of(["cpu", "cpu"])
    (Device(name='cpu', place=0), Device(name='cpu', place=1))
    """
    gpus = [f"cuda:{number}" for number in range(_gpus())]
    names = os.environ.get(OVERRIDE) or names
    if names == AUTO:
        names = gpus or ["cpu"]
    there = ["cpu", *gpus]
    for name in names:
        if name not in there:
            raise InputError(
                "[run] devices",
                f"devices that torch sees here: {', '.join(there)}",
                name,
                'Write devices = "auto", or look at CUDA_VISIBLE_DEVICES and the build of torch.',
            )
    return tuple(Device(name, list(names[:i]).count(name)) for i, name in enumerate(names))


def _gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


class Leases:
    """Who computes where. A device that is lent to a thread is lent to no other until it is back.

    >>> leases, both = Leases(), devices_of(["cpu", "cpu"])
    >>> with leases.one_of(both) as first, leases.one_of(both) as second:
    ...     first.place, second.place
    (0, 1)
    """

    def __init__(self) -> None:
        self._lent: set[Device] = set()
        self._returned = threading.Condition()

    @contextmanager
    def one_of(self, devices: Sequence[Device]) -> Iterator[Device]:
        """The first of these that is free, for as long as the block lasts; waits if none is."""
        with self._returned:
            self._returned.wait_for(lambda: not self._lent.issuperset(devices))
            device = next(one for one in devices if one not in self._lent)
            self._lent.add(device)
        try:
            with torch.cuda.device(device.torch) if device.name != "cpu" else nullcontext():
                yield device
        finally:
            with self._returned:
                self._lent.remove(device)
                self._returned.notify_all()


LEASES = Leases()
"""Those of this process."""


@contextmanager
def shared_threads(workers: int) -> Iterator[None]:
    """Give each of so many workers its part of torch's threads, at least one.

    To be entered before the workers' threads begin: a thread takes the number that holds when it
    first computes. OMP_NUM_THREADS says how many there are to share.
    """
    allotted = torch.get_num_threads()
    torch.set_num_threads(max(1, allotted // workers))
    try:
        yield
    finally:
        torch.set_num_threads(allotted)
