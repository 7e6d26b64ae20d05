"""Ownership of a folder: `store.json` records the study and the format of a store."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from storage.atomic import create_bytes, is_temp_path, write_bytes
from storage.errors import StoreError
from storage.paths import Layout
from storage.sealed import seal, unseal
from storage.uri import is_remote

STORE_FORMAT: Final = 3
"""Format version that this version writes."""
READABLE_FORMATS: Final = (1, 2, 3)
"""Formats that this version reads. Columns missing in format 1 are null; formats 1 and 2 have no
digests of small files and artifacts. Opening a store for writing upgrades it to format 3."""


def claim_ownership(layout: Layout, study: str, create: bool) -> None:
    """Check that a folder is the store of a study; with `create`, create a missing store.

    Raises:
        StoreError: The folder is not the store of this study or, with `create`, is not
            writable. Nothing is written then.
    """
    if not layout.store.is_file():
        _check_free(layout.root, create)
    if create:
        _check_writable(layout.root)
        now = datetime.now(UTC).isoformat()
        header = {"format": STORE_FORMAT, "study": study, "created": now}
        if not layout.store.is_file():
            create_bytes(layout.store, seal(header, None))
    header = _check_owner(layout.store, study)
    if create and header["format"] != STORE_FORMAT:
        upgraded = {**header, "format": STORE_FORMAT}  # older versions must refuse it
        write_bytes(layout.store, seal(upgraded, None))


def check_ownership(layout: Layout, study: str) -> None:
    """Raise what `claim_ownership` with `create` would raise, without writing anything.

    Raises:
        StoreError: The folder is not the store of this study, or is not writable.
    """
    if not layout.store.is_file():
        _check_free(layout.root, create=True)
    _check_writable(layout.root)
    if layout.store.is_file():
        _check_owner(layout.store, study)


def _check_free(root: Path, create: bool) -> None:
    """Raise unless the path is a store, or a new or empty folder and `create` is set."""
    if root.exists() and not root.is_dir():
        got, remedy = "a file", "Set the store's path to a folder."
    elif root.is_dir() and not all(is_temp_path(path) for path in root.iterdir()):
        got = "a folder with other files (no store.json)"
        remedy = "Set the store's path to a new or empty folder."
    elif not create:
        got = "a missing folder"
        remedy = "Run `fastif audit` or `fastif mislabels` first, or correct the store's path."
    else:
        return
    raise StoreError(root, expected="a store", got=got, remedy=remedy)


def _check_writable(root: Path) -> None:
    if is_remote(root):
        return  # S3 reports missing permissions only on a write
    nearest = next(path for path in (root, *root.parents) if path.exists())
    if not nearest.is_dir():
        got = f"a file at {nearest}"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        got = f"no write permission for {nearest}"
    else:
        return
    raise StoreError(
        root,
        expected="a writable folder",
        got=got,
        remedy="Set the store's path to another folder, or change the permissions of this one.",
    )


def _check_owner(path: Path, study: str) -> dict[str, object]:
    try:
        header = unseal(path.read_bytes())
        store_format, owner = header["format"], header["study"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            path,
            expected="the JSON header of a store",
            got=f"an unreadable file ({type(error).__name__}: {error})",
            remedy="Restore the file, or set the store's path to a new folder.",
        ) from error
    if store_format not in READABLE_FORMATS:
        raise StoreError(
            path,
            expected=f"store format {', '.join(map(str, READABLE_FORMATS))}",
            got=f"format {store_format}",
            remedy="Use the version of fastif that wrote the store, or a new folder.",
        )
    if owner != study:
        raise StoreError(
            path,
            expected=f"the store of study {study!r}",
            got=f"the store of study {owner!r}",
            remedy="Use a separate store for each study, or restore the study's name.",
        )
    return header
