"""Parts of a store in a bucket: kept there, opened from a copy on this machine's disk.

An index that is mapped and a factor that is loaded have to be files. A part is put object by object
under a name of its writer's own, and ``part.json``, put last and only if none is there, says which
of the writers it belongs to. So of two writers the first wins, and a killed one leaves objects that
nothing names.
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

from storage.listing import sizes_below
from storage.local_artifacts import LIST, find_part, write_part
from storage.object_store import (
    answered,
    create,
    download,
    put,
    upload,
)
from storage.paths import Layout
from storage.run_record import sha256_file
from storage.sealed import seal, unseal

STAYS: Final = frozenset({"hidden"})
"""Kinds that are made again sooner than they are fetched."""


@dataclass(frozen=True)
class _Stated:
    """What ``part.json`` says: where the objects lie below the part, their sizes and digests."""

    folder: str
    files: dict[str, int]
    sha256: dict[str, str] = field(default_factory=dict)


def find_remote(layout: Layout, kind: str, digest: str) -> Path | None:
    """A local copy of a part that is there and whole, else None."""
    local = find_part(copies(layout), kind, digest)
    if kind in STAYS:
        return local
    stated = _read(layout, kind, digest)
    if stated is None:  # never put; or made here by a process that was killed before it was
        return None if local is None else _publish(layout, kind, digest, local)
    return local or _fetch(layout, kind, digest, stated)


def find_all_remote(layout: Layout, kind: str) -> dict[str, Path]:
    """Local copies of all whole parts of a kind, by digest in ascending order."""
    listed = (name.split("/") for name in sizes_below(layout.parts(kind)))
    digests = sorted(parts[0] for parts in listed if parts[1:] == [LIST])
    found = ((digest, find_remote(layout, kind, digest)) for digest in digests)
    return {digest: folder for digest, folder in found if folder is not None}


def write_remote(layout: Layout, kind: str, digest: str, writer: Callable[[Path], None]) -> Path:
    """Make a part here, then put it into the bucket; if one is there by then, take that.

    Raises:
        StoreError: the disk is full, or the bucket does not answer.
    """
    made = write_part(copies(layout), kind, digest, writer)
    return made if kind in STAYS else _publish(layout, kind, digest, made)


def remote_problems(layout: Layout, kind: str, digest: str) -> list[str]:
    """What is wrong with a part in a bucket, every object fetched; empty when all is well."""
    part = layout.part(kind, digest)
    stated = _read(layout, kind, digest)
    if stated is None:
        return [f"{part / LIST}: not the list of a part that is whole"]
    found = []
    for name, expected in stated.sha256.items():
        path = part / stated.folder / name
        with answered(path):
            if sha256_file(path) != expected:
                found.append(f"{path}: the bytes changed since it was written (other sha256)")
    return found


def stated_writer(layout: Layout, kind: str, digest: str) -> str | None:
    """Whose objects a part is made of; None if it is not whole."""
    stated = _read(layout, kind, digest)
    return None if stated is None else stated.folder


def copies(layout: Layout) -> Layout:
    """Where this machine keeps its copies: FASTIF_CACHE, or ~/.cache/fastif."""
    base = os.environ.get("FASTIF_CACHE") or Path.home() / ".cache" / "fastif"
    name = hashlib.sha256(str(layout.root).encode()).hexdigest()[:16]
    return Layout(Path(base).absolute() / name)


def _publish(layout: Layout, kind: str, digest: str, folder: Path) -> Path:
    sizes = {name: size for name, size in sizes_below(folder).items() if name != LIST}
    mine = _Stated(uuid4().hex, sizes, {name: sha256_file(folder / name) for name in sizes})
    for name in mine.files:
        upload(folder / name, layout.part(kind, digest) / mine.folder / name)
    listing = layout.part(kind, digest) / LIST
    data = seal(asdict(mine))
    if create(listing, data):
        return folder
    stated = _read(layout, kind, digest)
    if stated is None:  # what is there is damaged
        put(listing, data)
        return folder
    shutil.rmtree(folder, ignore_errors=True)  # another was first: all are to answer alike
    return _fetch(layout, kind, digest, stated)


def _fetch(layout: Layout, kind: str, digest: str, stated: _Stated) -> Path:
    objects = layout.part(kind, digest) / stated.folder

    def write(folder: Path) -> None:
        for name in stated.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            download(objects / name, folder / name)

    return write_part(copies(layout), kind, digest, write)


def _read(layout: Layout, kind: str, digest: str) -> _Stated | None:
    """What is stated, if every object has its size."""
    part = layout.part(kind, digest)
    try:
        with answered(part):
            listing = (part / LIST).read_bytes()
        stated = _Stated(**unseal(listing))
        there = sizes_below(part / stated.folder)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return stated if there == stated.files else None
