"""Whose store a folder is: one study's, in one format, or not a store at all."""

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
READABLE_FORMATS: Final = (1, 2, 3)
"""Formats that this version reads: what 1 lacks is null; 1 and 2 have no digests of small files and
parts. Who opens one to write makes it a 3."""


def claim_ownership(layout: Layout, study: str, create: bool) -> None:
    """Check that `layout` is the store of `study`; with `create`, make an absent one.

    Raises:
        StoreError: it is not, or (with `create`) it cannot be written. Nothing is written then.
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
        upgraded = {**header, "format": STORE_FORMAT}  # older versions would misread what comes
        write_bytes(layout.store, seal(upgraded, None))


def check_ownership(layout: Layout, study: str) -> None:
    """Refuse all that `claim_ownership` with `create` would refuse; nothing is written either way.

    Raises:
        StoreError: as `claim_ownership`.
    """
    if not layout.store.is_file():
        _check_free(layout.root, create=True)
    _check_writable(layout.root)
    if layout.store.is_file():
        _check_owner(layout.store, study)


def _check_free(root: Path, create: bool) -> None:
    """Refuse what is neither a store nor a place where one may begin."""
    if root.exists() and not root.is_dir():
        got, remedy = "a file", "Set the store's path to a folder."
    elif root.is_dir() and not all(is_temp_path(path) for path in root.iterdir()):
        got = "a folder with other things in it (no store.json)"
        remedy = "Set the store's path to a new or empty folder."
    elif not create:
        got = "nothing there"
        remedy = "Run the audit first (or `fastif mislabels`), or set the store's path to it."
    else:
        return
    raise StoreError(root, expected="a store", got=got, remedy=remedy)


def _check_writable(root: Path) -> None:
    if is_remote(root):
        return  # only a request that writes can tell
    nearest = next(path for path in (root, *root.parents) if path.exists())
    if not nearest.is_dir():
        got = f"a file at {nearest}"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        got = f"no right to write in {nearest}"
    else:
        return
    raise StoreError(
        root,
        expected="a folder to write in",
        got=got,
        remedy="Set the store's path to another folder, or change the rights of this one.",
    )


def _check_owner(path: Path, study: str) -> dict[str, object]:
    try:
        header = unseal(path.read_bytes())
        store_format, owner = header["format"], header["study"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            path,
            expected="the description of a store",
            got=f"something unreadable ({type(error).__name__}: {error})",
            remedy="Restore the file, or set the store's path to a new folder.",
        ) from error
    if store_format not in READABLE_FORMATS:
        raise StoreError(
            path,
            expected=f"format {', '.join(map(str, READABLE_FORMATS))}",
            got=f"format {store_format}",
            remedy="Use the version of fastif that wrote it, or a new folder.",
        )
    if owner != study:
        raise StoreError(
            path,
            expected=f"the store of study {study!r}",
            got=f"the one of study {owner!r}",
            remedy="Give each study its own store, or set the study's name back.",
        )
    return header
