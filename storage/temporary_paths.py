"""Temporary paths that this process is writing, so that an interrupted process can remove them."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

INSTALL_SECONDS = 0.3
"""Time that renames in progress get when the process ends."""

_open_paths: set[Path] = set()
_install_lock = threading.Lock()


def new_temporary_path(path: Path) -> Path:
    """Return a new hidden name in the folder of `path`, hence on the same disk."""
    temp = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    _open_paths.add(temp)
    return temp


def forget_temporary_path(temp: Path) -> None:
    """Note that a temporary path was renamed or removed."""
    _open_paths.discard(temp)


@contextmanager
def install_temporary_paths() -> Iterator[None]:
    """Context manager around the renames that move temporary paths to their final places.

    A process that is ending removes no temporary path during the block, and begins no block after.
    """
    with _install_lock:
        yield


def remove_temporary_paths() -> None:
    """Remove what this process was writing; for a process that ends without unwinding.

    Nothing is installed from then on. Each path is renamed first: a thread that still writes then
    fails, instead of refilling a folder.
    """
    if not _install_lock.acquire(timeout=INSTALL_SECONDS):  # held until the process ends
        return
    for temp in list(_open_paths):
        with suppress(OSError):
            removed = temp.with_name(f".{uuid4().hex}.tmp")
            os.replace(temp, removed)
            if removed.is_dir():
                shutil.rmtree(removed, ignore_errors=True)
            else:
                removed.unlink()
