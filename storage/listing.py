"""Recursive listing of a folder, or of a prefix in a bucket."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import StoreError
from storage.object_store import translate_s3_errors
from storage.uri import is_remote


@dataclass(frozen=True)
class Entry:
    """File of a listing.

    Attributes:
        bytes: Size in bytes.
        modified: Time of the last change, in seconds since 1970.
        version: Text that differs after a change: inode and nanoseconds of a file, ETag of an
            object.
    """

    bytes: int
    modified: float
    version: str


def list_entries(folder: Path) -> dict[str, Entry]:
    """Return all files below a folder by their relative path; empty if it does not exist.

    A bucket is listed with one call, since a request for each file would be slow.

    Raises:
        StoreError: A folder is not readable, which must not be mistaken for an empty one.
    """
    return _list_remote(folder) if is_remote(folder) else _list_local(folder)


def list_sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of all files below a folder, by their relative path."""
    return {name: entry.bytes for name, entry in list_entries(folder).items()}


def list_names(folder: Path) -> list[str]:
    """Return the sorted names in a local folder; empty if it does not exist.

    Raises:
        StoreError: The folder is not readable.
    """
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        _refuse_unreadable(error)
        return []


def _list_local(folder: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    pending = [("", str(folder))]
    while pending:
        prefix, parent = pending.pop()
        try:
            with os.scandir(parent) as children:
                for child in children:
                    if child.is_dir(follow_symlinks=False):
                        pending.append((f"{prefix}{child.name}/", child.path))
                    elif entry := _read_entry(child):
                        entries[prefix + child.name] = entry
        except OSError as error:
            _refuse_unreadable(error)
    return entries


def _read_entry(child: os.DirEntry[str]) -> Entry | None:
    """Return the entry of a file; None for anything else, or if it has just been removed."""
    try:
        status = child.stat()
    except FileNotFoundError:
        return None  # another process has just renamed or removed it
    if not stat.S_ISREG(status.st_mode):
        return None
    return Entry(status.st_size, status.st_mtime, f"{status.st_ino} {status.st_mtime_ns}")


def _refuse_unreadable(error: OSError) -> None:
    """Raise if a folder is not readable; ignore one that does not exist.

    Raises:
        StoreError: The folder exists and cannot be read.
    """
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return
    raise StoreError(
        Path(str(error.filename)),
        expected="a folder that this user may read",
        got=(error.strerror or str(error)).lower(),
        remedy="Change its permissions, or run as the user that wrote it.",
    ) from error


def _list_remote(folder: Path) -> dict[str, Entry]:
    remote: Any = folder
    with translate_s3_errors(folder):
        objects = remote.fs.find(remote.path, detail=True)
    prefix_length = len(remote.path.rstrip("/")) + 1
    return {
        name[prefix_length:]: Entry(
            int(info["size"]), info["LastModified"].timestamp(), str(info["ETag"])
        )
        for name, info in objects.items()
    }
