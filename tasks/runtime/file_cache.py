"""What was read from a file, kept for this process as long as the file is the same."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Value = TypeVar("Value")

SETTLED_NS = 50_000_000
"""Age of a file that is kept. One that changed just now may change again within a tick of the
file system's clock, and keep its times."""
COARSE_SETTLED_NS = 3_000_000_000
"""The same where times are whole seconds: ticks of NFS, FAT and others last one or two of them."""


@dataclass(frozen=True)
class FileVersion:
    """What tells a file from another under its name, without reading it.

    Attributes:
        device, inode: of the file, which another that takes its place does not have.
        size: in bytes.
        modified_ns, changed_ns: times of its contents and of its entry; the latter cannot be set.
    """

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class FileCache(Generic[Value]):
    """Values by file and by how it is read; one that is read anew when the file is another.

    Args:
        capacity: values that are kept; the one that was wanted longest ago goes first.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._entries: OrderedDict[tuple[Path, Hashable], tuple[FileVersion, Value]] = OrderedDict()
        self._lock = threading.RLock()

    def read(self, path: Path, key: Hashable, read: Callable[[], Value]) -> Value:
        """What `read` gives for a file, or what it gave for the same file before.

        Args:
            path: the file; where there is none, it is for `read` to refuse.
            key: all that the value depends on beside the file.
            read: reads it. One thread at a time, so that two do not read the same.
        """
        place = (path.absolute(), key)
        with self._lock:
            version, now = find_version(path), time.time_ns()
            entry = self._entries.get(place)
            if entry is not None and entry[0] == version:
                self._entries.move_to_end(place)
                return entry[1]
            value = read()
            if version is not None and is_settled(version, now) and find_version(path) == version:
                self._keep(place, version, value)
            return value

    def _keep(self, place: tuple[Path, Hashable], version: FileVersion, value: Value) -> None:
        self._entries[place] = (version, value)
        self._entries.move_to_end(place)
        while len(self._entries) > self.capacity:
            self._entries.popitem(last=False)


def find_version(path: Path) -> FileVersion | None:
    """The version of a file, behind links; None where there is none that can be asked."""
    try:
        entry = path.stat()
    except OSError:
        return None
    return FileVersion(
        entry.st_dev, entry.st_ino, entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns
    )


def is_settled(version: FileVersion, now: int) -> bool:
    """Whether another write to the file would show in its times."""
    times = (version.modified_ns, version.changed_ns)
    is_coarse = any(time_ns % 1_000_000_000 == 0 for time_ns in times)
    return now - max(times) > (COARSE_SETTLED_NS if is_coarse else SETTLED_NS)
