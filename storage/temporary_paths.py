"""Temporary paths that this process is writing, so that an interrupted process can remove them."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

_open_paths: set[Path] = set()


def new_temporary_path(path: Path) -> Path:
    """Return a new hidden name in the folder of `path`, hence on the same disk."""
    temp = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    _open_paths.add(temp)
    return temp


def forget_temporary_path(temp: Path) -> None:
    """Note that a temporary path was renamed or removed."""
    _open_paths.discard(temp)


def remove_temporary_paths() -> None:
    """Remove what this process was writing; for a process that ends without unwinding.

    Each path is renamed first: a thread that still runs can then not move a half-removed folder to
    its final place.
    """
    for temp in list(_open_paths):
        with suppress(OSError):
            removed = temp.with_name(f".{uuid4().hex}.tmp")
            os.replace(temp, removed)
            if removed.is_dir():
                shutil.rmtree(removed, ignore_errors=True)
            else:
                removed.unlink()
