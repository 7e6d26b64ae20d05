"""The parts of a store: folders that its runs share, and that hold what people decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from storage.artifacts import (
    damaged_parts,
    find_part,
    find_parts,
    keep_parts,
    sound_parts,
    write_part,
)
from storage.atomic import is_aside
from storage.garbage_collection import Leftover, remove, unused_parts
from storage.listing import entries_below, sizes_below
from storage.local_artifacts import LIST
from storage.paths import Layout


@dataclass(frozen=True)
class PartsStore:
    """Parts by kind and digest; see `storage.artifacts`."""

    layout: Layout

    def part(self, kind: str, digest: str) -> Path | None:
        """Folder of a part that is there and whole, else None."""
        return find_part(self.layout, kind, digest)

    def parts(self, kind: str) -> dict[str, Path]:
        """Folders of all whole parts of a kind, by digest in ascending order."""
        return find_parts(self.layout, kind)

    def part_names(self, kind: str) -> list[str]:
        """Digests of all parts of a kind, sound or not."""
        names = {name.split("/")[0] for name in sizes_below(self.layout.parts(kind))}
        return sorted(name for name in names if not is_aside(Path(name)))

    def sound_parts(self, kind: str) -> dict[str, Path]:
        """The same, of a kind that nothing can make again: each read and compared with its digest.

        Raises:
            StoreError: one of them is damaged, which must not pass for "never written".
        """
        return sound_parts(self.layout, kind)

    def damaged_parts(self) -> dict[tuple[str, str], list[str]]:
        """What is wrong with parts, by kind and digest, read byte by byte; sound ones left out."""
        return damaged_parts(self.layout)

    def drop_part(self, kind: str, digest: str) -> None:
        """Remove a part, its list first: it counts as absent from then on."""
        entries = sorted(
            entries_below(self.layout.part(kind, digest)), key=lambda name: name != LIST
        )
        gone = [Leftover(f"parts/{kind}/{digest}/{name}", 0, "damaged") for name in entries]
        remove(self.layout, gone)

    def write_part(self, kind: str, digest: str, writer: Callable[[Path], None]) -> Path:
        """Fill a part's folder aside with `writer` and put it in place; of two writers one wins."""
        return write_part(self.layout, kind, digest, writer)

    def keep_parts(self, kind: str, digests: Collection[str]) -> None:
        """Remove all parts of a kind but these."""
        keep_parts(self.layout, kind, digests)

    def unused_parts(self, days: float, keep: Collection[tuple[str, str]] = ()) -> list[Leftover]:
        """Files of parts that nobody has asked for in so many days, but for those to keep."""
        return unused_parts(self.layout, keep, days, time.time())

    def bytes_of_parts(self) -> int:
        """Bytes of all parts, which the runs of a store share."""
        return bytes_below(self.layout.all_parts)


def bytes_below(folder: Path) -> int:
    """Bytes of every file below a folder."""
    return sum(sizes_below(folder).values())
