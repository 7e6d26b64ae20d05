"""Parts: folders of files (an index, a factor) named by the digest of what they were made from.

Runs of the same study share them. Whoever asks for one gets a folder on this machine's disk.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from storage import local_artifacts as local_parts
from storage.errors import StoreError
from storage.listing import sizes_below
from storage.local_artifacts import LIST
from storage.object_store import answered, put
from storage.paths import Layout
from storage.remote_artifacts import (
    copies,
    find_all_remote,
    find_remote,
    remote_problems,
    write_remote,
)
from storage.uri import is_remote

DAY = 24 * 3600
_DIGEST = re.compile(r"[0-9a-f]{64}")
"""Name of a part's folder."""


def find_part(layout: Layout, kind: str, digest: str) -> Path | None:
    """Folder of a part that is there and whole, else None."""
    find = find_remote if is_remote(layout.root) else local_parts.find_part
    folder = find(layout, kind, digest)
    if folder is not None:
        _renew(layout.part(kind, digest) / LIST)
    return folder


def find_parts(layout: Layout, kind: str) -> dict[str, Path]:
    """Folders of all whole parts of a kind, by digest in ascending order."""
    if is_remote(layout.root):
        return find_all_remote(layout, kind)
    return local_parts.find_parts(layout, kind)


def write_part(layout: Layout, kind: str, digest: str, writer: Callable[[Path], None]) -> Path:
    """Let `writer` fill a folder aside, then put it in place; the first of two writers wins.

    Raises:
        StoreError: the disk is full or cannot be written, or the bucket does not answer.
    """
    if is_remote(layout.root):
        return write_remote(layout, kind, digest, writer)
    return local_parts.write_part(layout, kind, digest, writer)


def sound_parts(layout: Layout, kind: str) -> dict[str, Path]:
    """As `find_parts`, of a kind that nothing can make again: each is read and compared.

    Raises:
        StoreError: one of them is damaged, which must not pass for "never written".
    """
    for wrong in damaged_parts(layout, (kind,)).values():
        raise StoreError.at(
            layout.parts(kind),
            expected=f"every part of {kind} as it was written",
            got="; ".join(wrong),
            remedy="Put the file back from a copy, or remove its folder to go on without it.",
        )
    return find_parts(layout, kind)


def damaged_parts(layout: Layout, kinds: Collection[str] = ()) -> dict[tuple[str, str], list[str]]:
    """What is wrong with parts, by kind and digest, read byte by byte; sound ones are left out.

    Args:
        layout: of the store.
        kinds: of the parts that are read; all if none is named.
    """
    names = {tuple(name.split("/")[:2]) for name in sizes_below(layout.all_parts)}
    found = {}
    for kind, digest in sorted(pair for pair in names if len(pair) == 2):
        if not _DIGEST.fullmatch(digest) or (kinds and kind not in kinds):
            continue  # what a writer has aside, or a file manager left
        if is_remote(layout.root):
            wrong = remote_problems(layout, kind, digest)
        else:
            wrong = local_parts.part_problems(layout.parts(kind) / digest)
        if wrong:
            found[kind, digest] = wrong
    return found


def _renew(listing: Path) -> None:
    """Note that the part is in use, by the time of its list, once a day."""
    with suppress(FileNotFoundError), answered(listing):
        if time.time() - listing.stat().st_mtime < DAY:
            return
        if is_remote(listing):
            put(listing, listing.read_bytes())
        else:
            os.utime(listing)


def keep_parts(layout: Layout, kind: str, digests: Collection[str]) -> None:
    """Remove all parts of a kind from this machine's disk but these.

    Also what writers left that were killed a day ago. Who has a file of such a part open goes on
    reading it.
    """
    here = copies(layout) if is_remote(layout.root) else layout
    local_parts.keep_parts(here, kind, digests)
