"""Parts of a store in a bucket: kept there, opened from a copy on this machine's disk.

An index that is mapped and a factor that is loaded have to be files. A part is put object by object
under a name of its writer's own, and ``part.json``, put last and only if none is there, says
which of the writers it belongs to. So of two writers the first wins, and a killed one leaves
objects that nothing names.
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
"""Kinds that are made again sooner than they are fetched."""


@dataclass(frozen=True)
class _ArtifactListing:
    """What ``part.json`` says: where the objects lie below the part, their sizes and digests."""

    folder: str
    files: dict[str, int]
    sha256: dict[str, str] = field(default_factory=dict)


def find_remote_artifact(layout: Layout, kind: str, digest: str) -> Path | None:
    """A local copy of a part that is there and whole, else None."""
    local = find_local_artifact(local_cache_layout(layout), kind, digest)
    if kind in LOCAL_KINDS:
        return local
    listing = _read_listing(layout, kind, digest)
    if listing is None:  # never put; or made here by a process that was killed before it was
        return None if local is None else _publish(layout, kind, digest, local)
    return local or _fetch(layout, kind, digest, listing)


def find_remote_artifacts(layout: Layout, kind: str) -> dict[str, Path]:
    """Local copies of all whole parts of a kind, by digest in ascending order."""
    names = (name.split("/") for name in list_sizes(layout.artifacts(kind)))
    digests = sorted(segments[0] for segments in names if segments[1:] == [LISTING])
    artifacts = ((digest, find_remote_artifact(layout, kind, digest)) for digest in digests)
    return {digest: folder for digest, folder in artifacts if folder is not None}


def write_remote_artifact(
    layout: Layout, kind: str, digest: str, writer: Callable[[Path], None]
) -> Path:
    """Make a part here, then put it into the bucket; if one is there by then, take that.

    Raises:
        StoreError: the disk is full, or the bucket does not answer.
    """
    folder = write_local_artifact(local_cache_layout(layout), kind, digest, writer)
    return folder if kind in LOCAL_KINDS else _publish(layout, kind, digest, folder)


def find_remote_problems(layout: Layout, kind: str, digest: str) -> list[str]:
    """What is wrong with a part in a bucket, every object fetched; empty when all is well."""
    folder = layout.artifact(kind, digest)
    listing = _read_listing(layout, kind, digest)
    if listing is None:
        return [f"{folder / LISTING}: not the list of a part that is whole"]
    problems = []
    for name, expected in listing.sha256.items():
        path = folder / listing.folder / name
        with translate_s3_errors(path):
            if sha256_file(path) != expected:
                problems.append(f"{path}: the bytes changed since it was written (other sha256)")
    return problems


def read_writer(layout: Layout, kind: str, digest: str) -> str | None:
    """Whose objects a part is made of; None if it is not whole."""
    listing = _read_listing(layout, kind, digest)
    return None if listing is None else listing.folder


def local_cache_layout(layout: Layout) -> Layout:
    """Where this machine keeps its copies: FASTIF_CACHE, or ~/.cache/fastif."""
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
    if published is None:  # what is there is damaged
        put(listing, data)
        return folder
    shutil.rmtree(folder, ignore_errors=True)  # another was first: all are to answer alike
    return _fetch(layout, kind, digest, published)


def _fetch(layout: Layout, kind: str, digest: str, listing: _ArtifactListing) -> Path:
    objects = layout.artifact(kind, digest) / listing.folder

    def write(folder: Path) -> None:
        for name in listing.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            download(objects / name, folder / name)

    return write_local_artifact(local_cache_layout(layout), kind, digest, write)


def _read_listing(layout: Layout, kind: str, digest: str) -> _ArtifactListing | None:
    """What is stated, if every object has its size."""
    folder = layout.artifact(kind, digest)
    try:
        with translate_s3_errors(folder):
            listing = (folder / LISTING).read_bytes()
        content = _ArtifactListing(**unseal(listing))
        actual = list_sizes(folder / content.folder)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return content if actual == content.files else None
