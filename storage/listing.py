"""What lies below a folder, or below a prefix of a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.location import is_remote
from storage.remote import answered


@dataclass(frozen=True)
class Entry:
    """A file: its bytes, and when it was last written (seconds since 1970)."""

    bytes: int
    modified: float


def entries_below(folder: Path) -> dict[str, Entry]:
    """Every file below, by its path from there; empty if nothing is.

    One listing, also of a bucket, where a question for each file would be a request each.
    """
    return _remote(folder) if is_remote(folder) else _local(folder)


def sizes_below(folder: Path) -> dict[str, int]:
    """Bytes of every file below, by its path from there."""
    return {name: entry.bytes for name, entry in entries_below(folder).items()}


def _local(folder: Path) -> dict[str, Entry]:
    found = {}
    for path in folder.rglob("*"):
        try:
            told = path.stat()
        except FileNotFoundError:
            continue  # another process has just put it in place, or removed it
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = Entry(told.st_size, told.st_mtime)
    return found


def _remote(folder: Path) -> dict[str, Entry]:
    remote: Any = folder
    with answered(folder):
        found = remote.fs.find(remote.path, detail=True)
    start = len(remote.path.rstrip("/")) + 1
    return {
        name[start:]: Entry(int(told["size"]), told["LastModified"].timestamp())
        for name, told in found.items()
    }
