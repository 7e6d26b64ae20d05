"""Artifacts: folders of files (an index, a factor) in a cache addressed by content digest.

An artifact is named by its kind and by the digest of everything it was computed from, so that runs
of the same study share it. A reader always gets a folder on the local disk; see
`storage.local_artifacts` and `storage.remote_artifacts` for the two places where artifacts are
kept.
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
"""Minimum age in seconds of an artifact's `part.json` before its time of last use is renewed."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
"""Pattern of an artifact's folder name: 64 hexadecimal digits."""


def find_artifact(layout: Layout, kind: str, digest: str) -> Path | None:
    """Return the local folder of an artifact, or None if it is missing or damaged.

    A hit renews the artifact's time of last use, at most once a day.
    """
    find = find_remote_artifact if is_remote(layout.root) else local_artifacts.find_local_artifact
    folder = find(layout, kind, digest)
    if folder is not None:
        _touch_listing(layout.artifact(kind, digest) / LISTING)
    return folder


def find_artifacts(layout: Layout, kind: str) -> dict[str, Path]:
    """Return the local folders of all intact artifacts of a kind, by digest in ascending order."""
    if is_remote(layout.root):
        return find_remote_artifacts(layout, kind)
    return local_artifacts.find_local_artifacts(layout, kind)


def write_artifact(layout: Layout, kind: str, digest: str, writer: Callable[[Path], None]) -> Path:
    """Write an artifact atomically; of two concurrent writers the first one wins.

    Args:
        layout: Paths of the store.
        kind: Kind of the artifact, such as "index"; the name of its parent folder.
        digest: Cache key, 64 hexadecimal digits.
        writer: Function that fills the temporary folder it is given.

    Returns:
        Local folder of the artifact.

    Raises:
        StoreError: The disk is full or not writable, or the bucket does not respond.
    """
    if is_remote(layout.root):
        return write_remote_artifact(layout, kind, digest, writer)
    return local_artifacts.write_local_artifact(layout, kind, digest, writer)


def find_verified_artifacts(layout: Layout, kind: str) -> dict[str, Path]:
    """Return all artifacts of a kind after comparing every byte with the stored digests.

    Meant for kinds that cannot be recomputed, such as annotations: a damaged one must not be
    mistaken for one that was never written.

    Raises:
        StoreError: An artifact of this kind is damaged.
    """
    for problems in find_damaged_artifacts(layout, (kind,)).values():
        raise StoreError(
            layout.artifacts(kind),
            expected=f"every artifact of kind {kind} as it was written",
            got="; ".join(problems),
            remedy="Run `fastif verify --repair`: it removes what can be computed again, and names "
            "what only a backup restores.",
        )
    return find_artifacts(layout, kind)


def find_damaged_artifacts(
    layout: Layout, kinds: Collection[str] = ()
) -> dict[tuple[str, str], list[str]]:
    """Compare artifacts byte by byte with their digests and return the problems found.

    Args:
        layout: Paths of the store.
        kinds: Kinds of artifacts to read; empty means all.

    Returns:
        Messages by (kind, digest); intact artifacts are left out.
    """
    names = {tuple(name.split("/")[:2]) for name in list_sizes(layout.all_artifacts)}
    damaged = {}
    for kind, digest in sorted(pair for pair in names if len(pair) == 2):
        if not _DIGEST.fullmatch(digest) or (kinds and kind not in kinds):
            continue  # a writer's temporary folder, or a file manager's file
        if is_remote(layout.root):
            problems = find_remote_problems(layout, kind, digest)
        else:
            problems = local_artifacts.find_local_problems(layout.artifacts(kind) / digest)
        if problems:
            damaged[kind, digest] = problems
    return damaged


def _touch_listing(listing: Path) -> None:
    """Renew the modification time of `part.json`, which marks the artifact as used; once a day."""
    with suppress(FileNotFoundError), translate_s3_errors(listing):
        if time.time() - listing.stat().st_mtime < RENEWAL_SECONDS:
            return
        if is_remote(listing):
            put(listing, listing.read_bytes())
        else:
            os.utime(listing)


def retain_artifacts(layout: Layout, kind: str, digests: Collection[str]) -> None:
    """Remove all artifacts of a kind from the local disk, except those with these digests.

    Temporary folders of writers that were killed more than a day ago are removed too. A process
    that has a removed file open can go on reading it. In a bucket, only the local copies are
    removed.
    """
    local_layout = local_cache_layout(layout) if is_remote(layout.root) else layout
    local_artifacts.retain_local_artifacts(local_layout, kind, digests)
