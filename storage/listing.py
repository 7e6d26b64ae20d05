"""What lies below a folder, or below a prefix of a bucket."""

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
    """A file: its bytes, and when it was last written (seconds since 1970)."""

    bytes: int
    modified: float


def list_entries(folder: Path) -> dict[str, Entry]:
    """Every file below, by its path from there; empty if nothing is.

    One listing, also of a bucket, where a question for each file would be a request each.

    Raises:
        StoreError: a folder that may not be read, which must not pass for an empty one.
    """
    return _list_remote(folder) if is_remote(folder) else _list_local(folder)


def list_sizes(folder: Path) -> dict[str, int]:
    """Bytes of every file below, by its path from there."""
    return {name: entry.bytes for name, entry in list_entries(folder).items()}


def list_names(folder: Path) -> list[str]:
    """Names of what lies in a folder of this machine, sorted; empty if there is none.

    Raises:
        StoreError: it may not be read.
    """
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        _refuse_unreadable(error)
        return []


def _list_local(folder: Path) -> dict[str, Entry]:
    entries = {}
    for parent, _, names in os.walk(folder, onerror=_refuse_unreadable):
        for path in (Path(parent) / name for name in names):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # another process has just put it in place, or removed it
            if stat.S_ISREG(status.st_mode):
                name = path.relative_to(folder).as_posix()
                entries[name] = Entry(status.st_size, status.st_mtime)
    return entries


def _refuse_unreadable(error: OSError) -> None:
    """What is not there, or no folder, has nothing below; what may not be read is another matter.

    Raises:
        StoreError: the latter.
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
        name[prefix_length:]: Entry(int(info["size"]), info["LastModified"].timestamp())
        for name, info in objects.items()
    }
