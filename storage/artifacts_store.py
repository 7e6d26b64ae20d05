"""Artifact methods of a store: caches that its runs share, and annotations made by people."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from storage.artifacts import (
    find_artifact,
    find_artifacts,
    find_damaged_artifacts,
    find_verified_artifacts,
    retain_artifacts,
    write_artifact,
)
from storage.atomic import is_temp_path
from storage.garbage_collection import Leftover, find_unused_artifacts, remove_files
from storage.listing import list_entries, list_sizes
from storage.local_artifacts import LISTING
from storage.paths import Layout


@dataclass(frozen=True)
class ArtifactStore:
    """Artifacts of a store by kind and digest; see `storage.artifacts`.

    Attributes:
        layout: Paths of the store.
    """

    layout: Layout

    def find_artifact(self, kind: str, digest: str) -> Path | None:
        """Return the local folder of an artifact, or None if it is missing or damaged.

        Args:
            kind: Kind of the artifact, such as "index".
            digest: Cache key, 64 hexadecimal digits.

        Raises:
            StoreError: The bucket does not respond, or the local disk is full.
        """
        return find_artifact(self.layout, kind, digest)

    def find_artifacts(self, kind: str) -> dict[str, Path]:
        """Return the local folders of all intact artifacts of a kind.

        Args:
            kind: Kind of the artifacts, such as "index".

        Returns:
            Folders by digest, in ascending order.

        Raises:
            StoreError: A folder is not readable, or the bucket does not respond.
        """
        return find_artifacts(self.layout, kind)

    def list_artifact_kinds(self, prefix: str = "") -> list[str]:
        """Return the kinds of all artifacts in ascending order, intact or not.

        Args:
            prefix: Beginning of the names of the kinds.
        """
        kinds = {name.split("/")[0] for name in list_sizes(self.layout.all_artifacts)}
        return sorted(kind for kind in kinds if kind.startswith(prefix))

    def list_artifact_digests(self, kind: str) -> list[str]:
        """Return the digests of all artifacts of a kind in ascending order, intact or not.

        Args:
            kind: Kind of the artifacts, such as "index".
        """
        names = {name.split("/")[0] for name in list_sizes(self.layout.artifacts(kind))}
        return sorted(name for name in names if not is_temp_path(Path(name)))

    def find_verified_artifacts(self, kind: str) -> dict[str, Path]:
        """Return all artifacts of a kind after comparing every byte with the stored digests.

        Meant for kinds that cannot be recomputed, such as annotations.

        Args:
            kind: Kind of the artifacts, such as "index".

        Returns:
            Folders by digest, in ascending order.

        Raises:
            StoreError: An artifact of this kind is damaged.
        """
        return find_verified_artifacts(self.layout, kind)

    def find_damaged_artifacts(self) -> dict[tuple[str, str], list[str]]:
        """Compare all artifacts byte by byte with their digests and return the problems found.

        Returns:
            Messages by (kind, digest); intact artifacts are left out.
        """
        return find_damaged_artifacts(self.layout)

    def remove_artifact(self, kind: str, digest: str) -> None:
        """Remove an artifact, its `part.json` first.

        The artifact counts as missing as soon as `part.json` is deleted, so a removal that is
        interrupted leaves no damaged artifact.

        Args:
            kind: Kind of the artifact, such as "index".
            digest: Cache key, 64 hexadecimal digits.
        """
        entries = sorted(
            list_entries(self.layout.artifact(kind, digest)), key=lambda name: name != LISTING
        )
        files = [Leftover(f"parts/{kind}/{digest}/{name}", 0, "damaged") for name in entries]
        remove_files(self.layout, files)

    def write_artifact(self, kind: str, digest: str, writer: Callable[[Path], None]) -> Path:
        """Write an artifact atomically; of two concurrent writers the first one wins.

        Args:
            kind: Kind of the artifact, such as "index".
            digest: Cache key, 64 hexadecimal digits.
            writer: Function that fills the temporary folder it is given.

        Returns:
            Local folder of the artifact.

        Raises:
            StoreError: The disk is full or not writable, or the bucket does not respond.
        """
        return write_artifact(self.layout, kind, digest, writer)

    def retain_artifacts(self, kind: str, digests: Collection[str]) -> None:
        """Remove all artifacts of a kind from the local disk, except those with these digests.

        Args:
            kind: Kind of the artifacts, such as "index".
            digests: Cache keys of the artifacts to keep.
        """
        retain_artifacts(self.layout, kind, digests)

    def find_unused_artifacts(
        self, days: float, keep: Collection[tuple[str, str]] = ()
    ) -> list[Leftover]:
        """Return the files of artifacts that no run has used for a number of days.

        Args:
            days: Days since the last use of an artifact.
            keep: (kind, digest) of artifacts that are kept regardless of their age.
        """
        return find_unused_artifacts(self.layout, keep, days, time.time())

    def count_artifact_bytes(self) -> int:
        """Return the size in bytes of all artifacts of the store."""
        return count_bytes_below(self.layout.all_artifacts)


def count_bytes_below(folder: Path) -> int:
    """Return the size in bytes of all files below a folder."""
    return sum(list_sizes(folder).values())
