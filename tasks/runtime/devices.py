"""Where an audit computes: each device is leased to one thread at a time.

A GPU is leased to one thread of all processes of a user, so that two audits at once take turns,
shard by shard, and neither finds its memory taken. The lease is a lock on a file, which the system
takes back when its process dies.
"""

import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from fastif import InputError
from tasks.study.device_names import AUTO

DEVICES_VARIABLE = "FASTIF_DEVICES"
"""Variable that stands for `[run] devices` where it is set: a worker that is given one device sees
no other, and the study names those of the whole machine."""
POLL_SECONDS = 0.2
"""Seconds between looks at a device that another process has."""


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
    def shared_name(self) -> str | None:
        """By which other processes know it, whatever number they see it under; None for a CPU."""
        if self.torch.type != "cuda":
            return None
        properties = torch.cuda.get_device_properties(self.torch)
        return f"gpu-{getattr(properties, 'uuid', self.torch.index)}"

    @property
    def description(self) -> str:
        """For a person: the model of a GPU and its memory."""
        if self.torch.type != "cuda":
            return self.name
        properties = torch.cuda.get_device_properties(self.torch)
        return f"{self.name} {properties.name} ({properties.total_memory / 2**30:.0f} GiB)"


def resolve_devices(names: str | Sequence[str]) -> tuple[Device, ...]:
    """The devices of `[run] devices`, one for each worker; "auto": every GPU, or else the CPU.

    Raises:
        InputError: torch does not see one of them.

    >>> resolve_devices(["cpu", "cpu"])
    (Device(name='cpu', place=0), Device(name='cpu', place=1))
    """
    gpus = [f"cuda:{number}" for number in range(_count_gpus())]
    names = os.environ.get(DEVICES_VARIABLE) or names
    if names == AUTO:
        names = gpus or ["cpu"]
    available = ["cpu", *gpus]
    for name in names:
        if name not in available:
            raise InputError(
                "[run] devices",
                f"devices that torch sees here: {', '.join(available)}",
                name,
                'Write devices = "auto", or look at CUDA_VISIBLE_DEVICES and the build of torch.',
            )
    return tuple(Device(name, list(names[:i]).count(name)) for i, name in enumerate(names))


def _count_gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


class DeviceLeases:
    """Who computes where. A device that is lent to a thread is lent to no other until it is back.

    Args:
        folder: of the files that stand for devices which processes share.

    >>> leases, both = DeviceLeases(), resolve_devices(["cpu", "cpu"])
    >>> with leases.lease_first_free(both) as first, leases.lease_first_free(both) as second:
    ...     first.place, second.place
    (0, 1)
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir()) / f"fastif-leases-{os.getuid()}"
        self._lent: set[Device] = set()
        self._returned = threading.Condition()

    @contextmanager
    def lease_first_free(self, devices: Sequence[Device]) -> Iterator[Device]:
        """The first of these that is free, for as long as the block lasts; waits if none is."""
        device, lock = self._acquire(devices)
        try:
            with torch.cuda.device(device.torch) if device.name != "cpu" else nullcontext():
                yield device
        finally:
            lock.close()
            with self._returned:
                self._lent.remove(device)
                self._returned.notify_all()

    def _acquire(self, devices: Sequence[Device]) -> tuple[Device, ExitStack]:
        with self._returned:
            while True:
                free = [candidate for candidate in devices if candidate not in self._lent]
                for device in free:
                    lock = self._try_lock(device)
                    if lock is not None:
                        self._lent.add(device)
                        return device, lock
                self._returned.wait(
                    POLL_SECONDS if free else None
                )  # no other process tells that it is done

    def _try_lock(self, device: Device) -> ExitStack | None:
        """Held by this process until it is closed; None if another one has it."""
        name, lock = device.shared_name, ExitStack()
        if name is None:
            return lock
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = lock.enter_context((self._folder / name).open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock


DEVICE_LEASES = DeviceLeases()
"""Those of this process."""


@contextmanager
def split_threads(workers: int) -> Iterator[None]:
    """Give each of so many workers its part of torch's threads, at least one.

    To be entered before the workers' threads begin: a thread takes the number that holds when it
    first computes. OMP_NUM_THREADS says how many there are to share.
    """
    total = torch.get_num_threads()
    torch.set_num_threads(max(1, total // workers))
    try:
        yield
    finally:
        torch.set_num_threads(total)
