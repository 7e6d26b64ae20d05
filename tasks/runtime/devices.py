"""Devices of an audit, and exclusive leases on them: one thread at a time per device.

A GPU is leased across all processes of a user, so that two concurrent audits alternate shard by
shard instead of competing for its memory. A lease is a file lock, which the system releases when
the process dies.
"""

import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from fastif import InputError
from tasks.study.device_names import AUTO

DEVICES_VARIABLE = "FASTIF_DEVICES"
"""Environment variable that overrides `[run] devices`. Workers of a cluster see one device each,
while the study names the devices of the whole machine."""
POLL_SECONDS = 0.2
"""Seconds between tries to lease a device that another process holds."""
IDLE_SECONDS = 0.5
"""Seconds for which a device is free before it joins a scan, so that a waiting shard of this or
another process leases it first."""


@dataclass(frozen=True)
class Device:
    """Device of one worker.

    Attributes:
        name: Name of the device in torch, "cpu" or "cuda:N".
        place: Number of the worker among those that share the device, from 0; always 0 on a GPU.
    """

    name: str
    place: int = 0

    @property
    def torch(self) -> torch.device:
        """Device as a torch object."""
        return torch.device(self.name)

    @property
    def shared_name(self) -> str | None:
        """Name that is the same in all processes, from the GPU's UUID; None for a CPU."""
        if self.torch.type != "cuda":
            return None
        properties = torch.cuda.get_device_properties(self.torch)
        return f"gpu-{getattr(properties, 'uuid', self.torch.index)}"

    @property
    def description(self) -> str:
        """Name for display, with the model and memory of a GPU."""
        if self.torch.type != "cuda":
            return self.name
        properties = torch.cuda.get_device_properties(self.torch)
        return f"{self.name} {properties.name} ({properties.total_memory / 2**30:.0f} GiB)"


def resolve_devices(names: str | Sequence[str]) -> tuple[Device, ...]:
    """Resolve `[run] devices` to one device per worker; "auto" is every GPU, or else the CPU.

    Raises:
        InputError: a device that torch does not see.

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
                'Set devices = "auto", or check CUDA_VISIBLE_DEVICES and the build of torch.',
            )
    return tuple(Device(name, list(names[:i]).count(name)) for i, name in enumerate(names))


def _count_gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


class DeviceLeases:
    """Exclusive leases of devices to threads, across threads and processes.

    Args:
        folder: Folder of the lock files of shared devices; one per user by default.

    >>> leases, both = DeviceLeases(), resolve_devices(["cpu", "cpu"])
    >>> with leases.lease_first_free(both) as first, leases.lease_first_free(both) as second:
    ...     first.place, second.place
    (0, 1)
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir()) / f"fastif-leases-{os.getuid()}"
        self._lent: set[Device] = set()
        self._num_waiting = 0
        self._return_times: dict[Device, float] = {}
        self._returned = threading.Condition()

    @contextmanager
    def lease_first_free(self, devices: Sequence[Device]) -> Iterator[Device]:
        """Lease the first free device for the duration of the block; wait if none is free."""
        device, lock = self._acquire(devices)
        with self._hold(device, lock):
            yield device

    @contextmanager
    def lease_idle(self, devices: Sequence[Device]) -> Iterator[Device | None]:
        """Lease a device that nothing else needs for the duration of the block; None if none is.

        It never waits, so a thread that holds a device already may ask for another one.
        """
        acquired = self._acquire_idle(devices)
        if acquired is None:
            yield None
            return
        with self._hold(*acquired):
            yield acquired[0]

    def is_waited_for(self) -> bool:
        """Whether a thread of this process waits for a device."""
        return self._num_waiting > 0

    @contextmanager
    def _hold(self, device: Device, lock: ExitStack) -> Iterator[None]:
        try:
            with torch.cuda.device(device.torch) if device.name != "cpu" else nullcontext():
                yield
        finally:
            lock.close()
            with self._returned:
                self._lent.remove(device)
                self._return_times[device] = time.monotonic()
                self._returned.notify_all()

    def _acquire(self, devices: Sequence[Device]) -> tuple[Device, ExitStack]:
        with self._returned:
            self._num_waiting += 1
            try:
                while True:
                    acquired = self._try_acquire(devices)
                    if acquired is not None:
                        return acquired
                    is_elsewhere = any(device not in self._lent for device in devices)
                    self._returned.wait(
                        POLL_SECONDS if is_elsewhere else None
                    )  # a release by another process is only noticed by polling
            finally:
                self._num_waiting -= 1

    def _acquire_idle(self, devices: Sequence[Device]) -> tuple[Device, ExitStack] | None:
        with self._returned:
            if self._num_waiting:
                return None
            earliest = time.monotonic() - IDLE_SECONDS
            times = self._return_times
            return self._try_acquire([d for d in devices if times.get(d, earliest) <= earliest])

    def _try_acquire(self, devices: Sequence[Device]) -> tuple[Device, ExitStack] | None:
        for device in devices:
            lock = None if device in self._lent else self._try_lock(device)
            if lock is not None:
                self._lent.add(device)
                return device, lock
        return None

    def _try_lock(self, device: Device) -> ExitStack | None:
        """Lock the device for this process until the stack is closed; None if it is taken."""
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
"""Leases of this process."""


@contextmanager
def split_threads(workers: int) -> Iterator[None]:
    """Divide torch's threads among the workers, at least one each.

    Enter this before the workers' threads start: a thread keeps the number that is set when it
    first computes. OMP_NUM_THREADS sets the total.
    """
    total = torch.get_num_threads()
    torch.set_num_threads(max(1, total // workers))
    try:
        yield
    finally:
        torch.set_num_threads(total)
