"""Atomic, durable file writes: a file is complete or absent, even after a power failure.

Each file is written under a temporary name in its own folder, synced with `fsync`, renamed, and the
folder is synced. A writer that is killed leaves at most a hidden temporary file
`.<name>.<uuid>.tmp`, which readers ignore and `fastif gc` removes.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from storage import object_store as remote
from storage.errors import StoreError
from storage.temporary_paths import (
    forget_temporary_path,
    install_temporary_paths,
    new_temporary_path,
)
from storage.uri import is_remote

_DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_ACCESS_ERRNOS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NEARLY_FULL_BYTES = 64 * 1024
_NO_HARD_LINK_ERRNOS = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)


_Install = Callable[[Path, Path], bool]


def temp_path(path: Path) -> Path:
    """Return a new hidden temporary name in the folder of `path`, hence on the same disk."""
    return new_temporary_path(path)


def is_temp_path(path: Path) -> bool:
    """Return whether `path` has the name of a temporary file that a killed writer may leave."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def fsync(path: Path) -> None:
    """Flush a file's bytes, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Create a folder and its parents, and sync each, so that they survive a power failure."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        fsync(folder.parent)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def commit_file(path: Path, writer: Callable[[Path], None]) -> None:
    """Write a file atomically, replacing an older one.

    Args:
        path: Final path of the file.
        writer: Function that writes the temporary file it is given.

    Raises:
        StoreError: The disk is full or the folder is not writable. No temporary file is left.
    """
    _commit(path, writer, _replace)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically to a local file or an object, replacing an older one.

    Raises:
        StoreError: The disk is full or not writable, or the bucket does not respond.
    """
    if is_remote(path):
        return remote.put(path, data)
    _commit(path, lambda temp: _write(temp, data), _replace, len(data))


def create_bytes(path: Path, data: bytes) -> bool:
    """Write bytes atomically unless the file exists; of many callers exactly one gets True.

    Raises:
        StoreError: The disk is full or not writable, or the bucket does not respond.
    """
    if is_remote(path):
        return remote.create(path, data)
    return _commit(path, lambda temp: _write(temp, data), _link, len(data))


def create_files(folder: Path, names: Sequence[str], writer: Callable[[Path], None]) -> str:
    """Create several files of a local folder: all of them, or none where one exists.

    Args:
        folder: Folder of the files; it is created if it is missing.
        names: Names of the files, in the order in which they appear.
        writer: Function that writes these files to the temporary folder it is given.

    Returns:
        Name of a file that exists already; empty if all were created.

    Raises:
        StoreError: The disk is full or the folder is not writable. No temporary file is left.
    """
    temp = temp_path(folder / names[0])
    try:
        with translate_os_errors(folder / names[0]):
            make_folder(folder)
            temp.mkdir()
            writer(temp)
            for name in names:
                fsync(temp / name)
            with install_temporary_paths():
                existing = _link_all(temp, folder, names)
            fsync(folder)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
        forget_temporary_path(temp)
    return existing


def _link_all(temp: Path, folder: Path, names: Sequence[str]) -> str:
    created: list[Path] = []
    try:
        for name in names:
            if not _link(temp / name, folder / name):
                break
            created.append(folder / name)
        else:
            created.clear()
            return ""
        return name
    finally:  # also when interrupted
        for path in created:
            path.unlink(missing_ok=True)


@contextmanager
def translate_os_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Context manager that converts operating-system errors into a `StoreError` with a remedy.

    Other exceptions pass through, unless the disk is full or the text carries an error number of
    the operating system: native libraries (FAISS, safetensors) report a full disk with their
    own exceptions.

    Args:
        path: File that the block writes.
        needed: Size in bytes of that file, if known; it appears in the message.
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise _explain_error(error, path, needed) from error
    except Exception as error:
        if count_free_bytes(path) < _NEARLY_FULL_BYTES:
            raise _make_disk_full_error(path, needed) from error
        if _find_errno(error) is not None:
            raise _explain_error(error, path, needed) from error
        raise


def count_free_bytes(path: Path) -> int:
    """Return the free bytes on the disk of `path`; `sys.maxsize` for a bucket."""
    if is_remote(path):
        return sys.maxsize
    for folder in (path, *path.parents):
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return 0


def _commit(
    path: Path, writer: Callable[[Path], None], install: _Install, needed: int | None = None
) -> bool:
    temp = temp_path(path)
    try:
        # Translated before the clean-up, which may free the bytes that were missing.
        with translate_os_errors(path, needed):
            make_folder(path.parent)
            writer(temp)
            fsync(temp)
            with install_temporary_paths():
                installed = install(temp, path)
            fsync(path.parent)
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
        forget_temporary_path(temp)
    return installed


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _replace(temp: Path, path: Path) -> bool:
    os.replace(temp, path)
    return True


def _link(temp: Path, path: Path) -> bool:
    try:
        os.link(temp, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINK_ERRNOS:
            raise
        # A file system without hard links: check, then rename. If two processes write the first
        # version at the same instant, both may get True; the later one's bytes stay.
        return not path.exists() and _replace(temp, path)
    return True


def _find_errno(error: Exception) -> int | None:
    """Return the errno of an exception; libraries written in Rust give it in the message only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    return next((n for n in errno.errorcode if f"(os error {n})" in str(error)), None)


def _explain_error(error: Exception, path: Path, needed: int | None) -> StoreError:
    code = _find_errno(error)
    if code in _DISK_FULL_ERRNOS:
        return _make_disk_full_error(path, needed)
    if code == errno.EFBIG:
        return StoreError(
            path,
            expected="a file of any size"
            if needed is None
            else f"a file of {_format_size(needed)}",
            got="a limit on the size of this process's files",
            remedy="Raise the limit (ulimit -f) or write smaller files ([run] shard_size for those "
            "of shards), then run again.",
        )
    reason = os.strerror(code) if code else str(error)
    access_remedy = f"Give this user write permission for {path.parent}, or choose another folder."
    other_remedy = "Check the disk and the path, or choose another folder, then run again."
    return StoreError(
        path,
        expected="a writable path",
        got=reason.lower(),
        remedy=access_remedy if code in _NO_ACCESS_ERRNOS else other_remedy,
    )


def _make_disk_full_error(path: Path, needed: int | None) -> StoreError:
    return StoreError(
        path,
        expected="enough free space" if needed is None else f"{_format_size(needed)} of free space",
        got=f"a full disk ({_format_size(count_free_bytes(path))} free)",
        remedy="Free some space or choose another disk, then run again: everything committed is "
        "kept.",
    )


def _format_size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,} bytes"
