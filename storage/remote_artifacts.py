"""Artifacts in a bucket, used through a cache on the local disk.

A memory-mapped index and a factor have to be local files. The objects of an artifact are uploaded
under a prefix unique to the writer; then `part.json` is created by a conditional PUT and names that
prefix. Of two concurrent writers the first wins, and a writer that is killed leaves objects that
nothing refers to.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

from storage.listing import list_sizes
from storage.local_artifacts import LISTING, find_local_artifact, write_local_artifact
from storage.object_store import (
    create,
    download,
    put,
    translate_s3_errors,
    upload,
)
from storage.paths import Layout
from storage.run_record import sha256_file
from storage.sealed import seal, unseal

LOCAL_KINDS: Final = frozenset({"hidden"})
"""Kinds of artifacts that are faster to recompute than to download, kept on the local disk only."""


@dataclass(frozen=True)
class _ArtifactListing:
    """Content of `part.json`.

    Attributes:
        folder: Prefix of the objects below the artifact.
        files: Size in bytes by name.
        sha256: Hexadecimal SHA-256 by name.
    """

    folder: str
    files: dict[str, int]
    sha256: dict[str, str] = field(default_factory=dict)


def find_remote_artifact(layout: Layout, kind: str, digest: str) -> Path | None:
    """Return a local copy of an artifact, or None if it is missing or damaged."""
    local = find_local_artifact(local_cache_layout(layout), kind, digest)
    if kind in LOCAL_KINDS:
        return local
    listing = _read_listing(layout, kind, digest)
    if listing is None:  # missing, or its upload was interrupted
        return None if local is None else _publish(layout, kind, digest, local)
    return local or _fetch(layout, kind, digest, listing)


def find_remote_artifacts(layout: Layout, kind: str) -> dict[str, Path]:
    """Return local copies of all intact artifacts of a kind, by digest in ascending order."""
    names = (name.split("/") for name in list_sizes(layout.artifacts(kind)))
    digests = sorted(segments[0] for segments in names if segments[1:] == [LISTING])
    artifacts = ((digest, find_remote_artifact(layout, kind, digest)) for digest in digests)
    return {digest: folder for digest, folder in artifacts if folder is not None}


def write_remote_artifact(
    layout: Layout, kind: str, digest: str, writer: Callable[[Path], None]
) -> Path:
    """Write an artifact locally and upload it; of two writers the first one wins.

    Returns:
        Local folder of the artifact that is in the bucket.

    Raises:
        StoreError: The disk is full, or the bucket does not respond.
    """
    folder = write_local_artifact(local_cache_layout(layout), kind, digest, writer)
    return folder if kind in LOCAL_KINDS else _publish(layout, kind, digest, folder)


def find_remote_problems(layout: Layout, kind: str, digest: str) -> list[str]:
    """Compare every object of an artifact with its digest and return the problems found.

    Returns:
        One message a problem; empty if the artifact is intact.
    """
    folder = layout.artifact(kind, digest)
    listing = _read_listing(layout, kind, digest)
    if listing is None:
        return [f"{folder / LISTING}: not the listing of an intact artifact"]
    problems = []
    for name, expected in listing.sha256.items():
        path = folder / listing.folder / name
        with translate_s3_errors(path):
            if sha256_file(path) != expected:
                problems.append(
                    f"{path}: the bytes changed since it was written (different SHA-256)"
                )
    return problems


def read_writer(layout: Layout, kind: str, digest: str) -> str | None:
    """Return the prefix of the objects of an artifact; None if it is missing or damaged."""
    listing = _read_listing(layout, kind, digest)
    return None if listing is None else listing.folder


def local_cache_layout(layout: Layout) -> Layout:
    """Return the paths of the local cache of a bucket: FASTIF_CACHE, or ~/.cache/fastif."""
    base = os.environ.get("FASTIF_CACHE") or Path.home() / ".cache" / "fastif"
    name = hashlib.sha256(str(layout.root).encode()).hexdigest()[:16]
    return Layout(Path(base).absolute() / name)


def _publish(layout: Layout, kind: str, digest: str, folder: Path) -> Path:
    sizes = {name: size for name, size in list_sizes(folder).items() if name != LISTING}
    own = _ArtifactListing(uuid4().hex, sizes, {name: sha256_file(folder / name) for name in sizes})
    for name in own.files:
        upload(folder / name, layout.artifact(kind, digest) / own.folder / name)
    listing = layout.artifact(kind, digest) / LISTING
    data = seal(asdict(own))
    if create(listing, data):
        return folder
    published = _read_listing(layout, kind, digest)
    if published is None:  # the existing listing is damaged
        put(listing, data)
        return folder
    shutil.rmtree(folder, ignore_errors=True)  # another writer was first: use its files
    return _fetch(layout, kind, digest, published)


def _fetch(layout: Layout, kind: str, digest: str, listing: _ArtifactListing) -> Path:
    objects = layout.artifact(kind, digest) / listing.folder

    def write(folder: Path) -> None:
        for name in listing.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            download(objects / name, folder / name)

    return write_local_artifact(local_cache_layout(layout), kind, digest, write)


def _read_listing(layout: Layout, kind: str, digest: str) -> _ArtifactListing | None:
    """Return the content of `part.json` if every object has its listed size, else None."""
    folder = layout.artifact(kind, digest)
    try:
        with translate_s3_errors(folder):
            listing = (folder / LISTING).read_bytes()
        content = _ArtifactListing(**unseal(listing))
        actual = list_sizes(folder / content.folder)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return content if actual == content.files else None
