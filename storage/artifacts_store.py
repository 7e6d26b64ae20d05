"""The parts of a store: folders that its runs share, and that hold what people decided."""

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
    """Parts by kind and digest; see `storage.artifacts`."""

    layout: Layout

    def find_artifact(self, kind: str, digest: str) -> Path | None:
        """Folder of a part that is there and whole, else None."""
        return find_artifact(self.layout, kind, digest)

    def find_artifacts(self, kind: str) -> dict[str, Path]:
        """Folders of all whole parts of a kind, by digest in ascending order."""
        return find_artifacts(self.layout, kind)

    def list_artifact_digests(self, kind: str) -> list[str]:
        """Digests of all parts of a kind, sound or not."""
        names = {name.split("/")[0] for name in list_sizes(self.layout.artifacts(kind))}
        return sorted(name for name in names if not is_temp_path(Path(name)))

    def find_verified_artifacts(self, kind: str) -> dict[str, Path]:
        """The same, of a kind that nothing can make again: each read and compared with its digest.

        Raises:
            StoreError: one of them is damaged, which must not pass for "never written".
        """
        return find_verified_artifacts(self.layout, kind)

    def find_damaged_artifacts(self) -> dict[tuple[str, str], list[str]]:
        """What is wrong with parts, by kind and digest, read byte by byte; sound ones left out."""
        return find_damaged_artifacts(self.layout)

    def remove_artifact(self, kind: str, digest: str) -> None:
        """Remove a part, its list first: it counts as absent from then on."""
        entries = sorted(
            list_entries(self.layout.artifact(kind, digest)), key=lambda name: name != LISTING
        )
        files = [Leftover(f"parts/{kind}/{digest}/{name}", 0, "damaged") for name in entries]
        remove_files(self.layout, files)

    def write_artifact(self, kind: str, digest: str, writer: Callable[[Path], None]) -> Path:
        """Fill a part's folder aside with `writer` and put it in place; of two writers one wins."""
        return write_artifact(self.layout, kind, digest, writer)

    def retain_artifacts(self, kind: str, digests: Collection[str]) -> None:
        """Remove all parts of a kind but these."""
        retain_artifacts(self.layout, kind, digests)

    def find_unused_artifacts(
        self, days: float, keep: Collection[tuple[str, str]] = ()
    ) -> list[Leftover]:
        """Files of parts that nobody has asked for in so many days, but for those to keep."""
        return find_unused_artifacts(self.layout, keep, days, time.time())

    def count_artifact_bytes(self) -> int:
        """Bytes of all parts, which the runs of a store share."""
        return count_bytes_below(self.layout.all_artifacts)


def count_bytes_below(folder: Path) -> int:
    """Bytes of every file below a folder."""
    return sum(list_sizes(folder).values())
