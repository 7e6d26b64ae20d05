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

from storage import local_artifacts as local_artifacts
from storage.errors import StoreError
from storage.listing import list_sizes
from storage.local_artifacts import LISTING
from storage.object_store import put, translate_s3_errors
from storage.paths import Layout
from storage.remote_artifacts import (
    find_remote_artifact,
    find_remote_artifacts,
    find_remote_problems,
    local_cache_layout,
    write_remote_artifact,
)
from storage.uri import is_remote

RENEWAL_SECONDS = 24 * 3600
_DIGEST = re.compile(r"[0-9a-f]{64}")
"""Name of a part's folder."""


def find_artifact(layout: Layout, kind: str, digest: str) -> Path | None:
    """Folder of a part that is there and whole, else None."""
    find = find_remote_artifact if is_remote(layout.root) else local_artifacts.find_local_artifact
    folder = find(layout, kind, digest)
    if folder is not None:
        _touch_listing(layout.artifact(kind, digest) / LISTING)
    return folder


def find_artifacts(layout: Layout, kind: str) -> dict[str, Path]:
    """Folders of all whole parts of a kind, by digest in ascending order."""
    if is_remote(layout.root):
        return find_remote_artifacts(layout, kind)
    return local_artifacts.find_local_artifacts(layout, kind)


def write_artifact(layout: Layout, kind: str, digest: str, writer: Callable[[Path], None]) -> Path:
    """Let `writer` fill a folder aside, then put it in place; the first of two writers wins.

    Raises:
        StoreError: the disk is full or cannot be written, or the bucket does not answer.
    """
    if is_remote(layout.root):
        return write_remote_artifact(layout, kind, digest, writer)
    return local_artifacts.write_local_artifact(layout, kind, digest, writer)


def find_verified_artifacts(layout: Layout, kind: str) -> dict[str, Path]:
    """As `find_artifacts`, of a kind that nothing can make again: each is read and compared.

    Raises:
        StoreError: one of them is damaged, which must not pass for "never written".
    """
    for problems in find_damaged_artifacts(layout, (kind,)).values():
        raise StoreError(
            layout.artifacts(kind),
            expected=f"every part of {kind} as it was written",
            got="; ".join(problems),
            remedy="Put the file back from a copy, or remove its folder to go on without it.",
        )
    return find_artifacts(layout, kind)


def find_damaged_artifacts(
    layout: Layout, kinds: Collection[str] = ()
) -> dict[tuple[str, str], list[str]]:
    """What is wrong with parts, by kind and digest, read byte by byte; sound ones are left out.

    Args:
        layout: of the store.
        kinds: of the parts that are read; all if none is named.
    """
    names = {tuple(name.split("/")[:2]) for name in list_sizes(layout.all_artifacts)}
    damaged = {}
    for kind, digest in sorted(pair for pair in names if len(pair) == 2):
        if not _DIGEST.fullmatch(digest) or (kinds and kind not in kinds):
            continue  # what a writer has aside, or a file manager left
        if is_remote(layout.root):
            problems = find_remote_problems(layout, kind, digest)
        else:
            problems = local_artifacts.find_local_problems(layout.artifacts(kind) / digest)
        if problems:
            damaged[kind, digest] = problems
    return damaged


def _touch_listing(listing: Path) -> None:
    """Note that the part is in use, by the time of its list, once a day."""
    with suppress(FileNotFoundError), translate_s3_errors(listing):
        if time.time() - listing.stat().st_mtime < RENEWAL_SECONDS:
            return
        if is_remote(listing):
            put(listing, listing.read_bytes())
        else:
            os.utime(listing)


def retain_artifacts(layout: Layout, kind: str, digests: Collection[str]) -> None:
    """Remove all parts of a kind from this machine's disk but these.

    Also what writers left that were killed a day ago. Who has a file of such a part open goes on
    reading it.
    """
    local_layout = local_cache_layout(layout) if is_remote(layout.root) else layout
    local_artifacts.retain_local_artifacts(local_layout, kind, digests)
