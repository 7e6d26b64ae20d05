"""Files that exist only when they are whole, also after SIGKILL or a power cut.

Written aside in the same folder, fsynced, renamed, and the folder fsynced. A writer that is killed
leaves at most a hidden ``.<name>.<uuid>.tmp``, which no reader looks at.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from storage import object_store as remote
from storage.errors import StoreError
from storage.uri import is_remote

_DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_ACCESS_ERRNOS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NEARLY_FULL_BYTES = 64 * 1024
_NO_HARD_LINK_ERRNOS = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)


_Install = Callable[[Path, Path], bool]


def temp_path(path: Path) -> Path:
    """A new hidden name beside `path`, on the same disk."""
    return path.with_name(f".{path.name}.{uuid4().hex}.tmp")


def is_temp_path(path: Path) -> bool:
    """Whether `path` is what a killed writer may have left."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def fsync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder and its parents so that they survive a power cut."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        fsync(folder.parent)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def commit_file(path: Path, writer: Callable[[Path], None]) -> None:
    """Let `writer` write aside, then put the file at `path`, replacing an older one whole.

    Raises:
        StoreError: the disk is full, or the folder cannot be written. Nothing is left behind.
    """
    _commit(path, writer, _replace)


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` at `path`; as commit_file."""
    if is_remote(path):
        return remote.put(path, data)
    _commit(path, lambda temp: _write(temp, data), _replace, len(data))


def create_bytes(path: Path, data: bytes) -> bool:
    """Put `data` at `path` unless something is there; of many callers exactly one gets True."""
    if is_remote(path):
        return remote.create(path, data)
    return _commit(path, lambda temp: _write(temp, data), _link, len(data))


@contextmanager
def translate_os_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn a failure of the block into a StoreError that says what to do about `path`.

    Errors of the writer's own kind pass, unless the disk is full: native libraries (FAISS,
    safetensors) report that as an error of their own.
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
    """Bytes free on the disk that holds `path`, or would hold it; of a bucket, more than any."""
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
        # Explained before the clean-up, which may free the very bytes that were missing.
        with translate_os_errors(path, needed):
            make_folder(path.parent)
            writer(temp)
            fsync(temp)
            installed = install(temp, path)
            fsync(path.parent)
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
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
        # A disk without hard links: check, then rename. Of two first writers in the same instant
        # both may get True and the later one's bytes stay.
        return not path.exists() and _replace(temp, path)
    return True


def _find_errno(error: Exception) -> int | None:
    """Of the system's error; libraries in Rust have it in their words alone."""
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
            remedy="Raise it (ulimit -f) or make the file smaller (of shards: [run] shard_size), "
            "then run again.",
        )
    reason = os.strerror(code) if code else str(error)
    access_remedy = f"Give this user the right to write in {path.parent}, or choose another place."
    other_remedy = "Check the disk and the path, or choose another place, then run again."
    return StoreError(
        path,
        expected="to write there",
        got=reason.lower(),
        remedy=access_remedy if code in _NO_ACCESS_ERRNOS else other_remedy,
    )


def _make_disk_full_error(path: Path, needed: int | None) -> StoreError:
    return StoreError(
        path,
        expected="room for it" if needed is None else f"room for {_format_size(needed)}",
        got=f"a full disk ({_format_size(count_free_bytes(path))} free)",
        remedy="Free some space or choose another disk, then run again: everything committed is "
        "kept.",
    )


def _format_size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count:,} bytes"
