"""In-process cache of values read from files, invalidated when a file changes."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Value = TypeVar("Value")

SETTLED_NS = 50_000_000
"""Least age of a file that is cached. A file that changed just now can change again within one tick
of the file system's clock, with the same time stamps."""
COARSE_SETTLED_NS = 3_000_000_000
"""Least age where time stamps are whole seconds, as on NFS and FAT (ticks of 1 to 2 s)."""


@dataclass(frozen=True)
class FileVersion:
    """Metadata that identifies a version of a file without reading it.

    Attributes:
        device, inode: Identity of the file; a replacement has another inode.
        size: Size in bytes.
        modified_ns, changed_ns: Times of modification and of status change (mtime and ctime) in
            nanoseconds; a user cannot set the latter.
    """

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class FileCache(Generic[Value]):
    """Least-recently-used cache of values by file and key; a changed file is read again.

    Args:
        capacity: Largest number of cached values.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._entries: OrderedDict[tuple[Path, Hashable], tuple[FileVersion, Value]] = OrderedDict()
        self._lock = threading.RLock()

    def read(self, path: Path, key: Hashable, read: Callable[[], Value]) -> Value:
        """Return the cached value of a file, or call `read` and cache its result.

        Args:
            path: Path of the file; if it is missing, `read` is called and raises.
            key: Everything else that the value depends on.
            read: Function that reads the value. Calls are serialized, so that no file is read
                twice simultaneously.
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
    """Version of a file, symbolic links followed; None if its status cannot be read."""
    try:
        entry = path.stat()
    except OSError:
        return None
    return FileVersion(
        entry.st_dev, entry.st_ino, entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns
    )


def is_settled(version: FileVersion, now: int) -> bool:
    """Whether a further write to the file would change its time stamps."""
    times = (version.modified_ns, version.changed_ns)
    is_coarse = any(time_ns % 1_000_000_000 == 0 for time_ns in times)
    return now - max(times) > (COARSE_SETTLED_NS if is_coarse else SETTLED_NS)
