"""Artifacts on a local disk: folders that are written atomically and verified when opened.

An artifact is intact if its files have the sizes, and up to `MAX_HASHED_BYTES` the digests, listed
in its `part.json`. One that is not intact counts as missing, and the next writer replaces it.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from storage.atomic import fsync, is_temp_path, make_folder, temp_path, translate_os_errors
from storage.errors import StoreError
from storage.listing import list_names
from storage.paths import Layout
from storage.run_record import sha256_file
from storage.sealed import seal, unseal
from storage.temporary_paths import forget_temporary_path, install_temporary_paths

LISTING = "part.json"
"""Name of the file that lists an artifact's files with their sizes and SHA-256 digests."""

MAX_HASHED_BYTES = 2**30
"""Maximum size in bytes of a file that is compared with its digest when a process first opens the
artifact. Larger files, such as hidden states of millions of rows, are read in full only by `fastif
verify`."""

_TAKEN_ERRNOS = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})
_ATTEMPTS = 20
_ABANDONED_AFTER = 24 * 3600
"""Seconds after which the writer of a temporary folder is assumed to be dead."""


def find_local_artifact(layout: Layout, kind: str, digest: str) -> Path | None:
    """Return the folder of an artifact, or None if it is missing or damaged."""
    folder = layout.artifact(kind, digest)
    return folder if _is_intact(folder) else None


def find_local_artifacts(layout: Layout, kind: str) -> dict[str, Path]:
    """Return the folders of all intact artifacts of a kind, by digest in ascending order."""
    folder = layout.artifacts(kind)
    names = (name for name in list_names(folder) if name[0] != ".")
    return {name: folder / name for name in names if _is_intact(folder / name)}


def write_local_artifact(
    layout: Layout, kind: str, digest: str, writer: Callable[[Path], None]
) -> Path:
    """Write an artifact to a temporary folder and rename it; of two writers the first one wins.

    Args:
        layout: Paths of the store.
        kind: Kind of the artifact.
        digest: Cache key, 64 hexadecimal digits.
        writer: Function that fills the temporary folder it is given.

    Returns:
        Folder of the artifact.

    Raises:
        StoreError: The disk is full or not writable. No temporary folder is left.
    """
    folder = layout.artifact(kind, digest)
    temp = temp_path(folder)
    try:
        with translate_os_errors(folder):
            make_folder(folder.parent)
            temp.mkdir()
            writer(temp)
            _seal(temp)
            with install_temporary_paths():
                _install(temp, folder)
            fsync(folder.parent)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
        forget_temporary_path(temp)
    return folder


def find_local_problems(folder: Path) -> list[str]:
    """Compare an artifact byte by byte with its digests and return the problems found.

    Artifacts of store formats 1 and 2 have no digests; only the sizes of their files are checked.

    Returns:
        One message a problem; empty if the artifact is intact.
    """
    try:
        content = unseal((folder / LISTING).read_bytes())
        sizes, digests = dict(content["files"]), dict(content.get("sha256", {}))
        actual = _list_sizes(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{folder / LISTING}: not readable as the listing of an artifact ({error})"]
    return [
        f"{folder / name}: {problem}"
        for name, size in sizes.items()
        if (problem := _find_file_problem(folder / name, actual.get(name), size, digests.get(name)))
    ]


def _find_file_problem(path: Path, actual: int | None, expected: int, digest: str | None) -> str:
    if actual is None:
        return "missing"
    if actual != expected:
        return f"expected {expected} bytes, got {actual}"
    if digest is not None and sha256_file(path) != digest:
        return "the bytes changed since it was written (different SHA-256)"
    return ""


def retain_local_artifacts(layout: Layout, kind: str, digests: Collection[str]) -> None:
    """Remove all artifacts of a kind except those with these digests; also old temporary folders.

    A process that has a removed file open can go on reading it.
    """
    for folder in layout.artifacts(kind).glob("*"):
        if is_temp_path(folder):
            if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(folder, ignore_errors=True)
        elif folder.name not in digests:
            removed = temp_path(folder)
            with suppress(FileNotFoundError):
                os.rename(folder, removed)
            shutil.rmtree(removed, ignore_errors=True)


def _seal(folder: Path) -> None:
    """Write `part.json` with sizes and digests, and sync the folder to the disk."""
    files = _list_sizes(folder)
    listing = folder / LISTING
    digests = {name: sha256_file(folder / name) for name in files}
    listing.write_bytes(seal({"files": files, "sha256": digests}))
    for path in (*folder.rglob("*"), folder):
        fsync(path)


def _install(temp: Path, folder: Path) -> None:
    for _ in range(_ATTEMPTS):
        try:
            os.rename(temp, folder)
        except OSError as error:
            if error.errno not in _TAKEN_ERRNOS:
                raise
        else:
            return
        if _is_intact(folder):
            return
        _retire(folder)
    raise StoreError(
        folder,
        expected="to write an artifact",
        got="another process that keeps writing a damaged one to this folder",
        remedy="Stop the other process and run again.",
    )


def _retire(folder: Path) -> None:
    """Rename a damaged artifact and remove it; another writer may have done so already."""
    damaged = temp_path(folder)
    with suppress(FileNotFoundError):
        os.rename(folder, damaged)
    if _is_intact(damaged):
        # Another writer replaced it between our check and our rename: move it back.
        with suppress(OSError):
            os.rename(damaged, folder)
    if damaged.is_dir():
        shutil.rmtree(damaged, ignore_errors=True)
    else:
        damaged.unlink(missing_ok=True)


def _is_intact(folder: Path) -> bool:
    try:
        content = unseal((folder / LISTING).read_bytes())
        files = content["files"]
        digests = content.get("sha256", {})
        return all(
            _is_file_intact(folder / name, size, digests.get(name)) for name, size in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_file_intact(path: Path, size: int, digest: str | None) -> bool:
    """Return whether a file has its size and, up to `MAX_HASHED_BYTES`, its digest."""
    state = path.stat()
    if not path.is_file() or state.st_size != size:
        return False
    return (
        digest is None
        or size > MAX_HASHED_BYTES
        or _compute_sha256(path, size, (state.st_ino, state.st_mtime_ns, state.st_ctime_ns))
        == digest
    )


@lru_cache(maxsize=10_000)
def _compute_sha256(path: Path, size: int, version: tuple[int, int, int]) -> str:
    """Return the SHA-256 of a file; `size` and `version` are part of the cache key.

    The version has the inode: a file can be replaced within one tick of the clock of its times.
    """
    return sha256_file(path)


def _list_sizes(folder: Path) -> dict[str, int]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != LISTING)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
