"""What a store no longer needs: leftovers of killed writers, files replaced, runs and parts of old.

Nothing that a reader could be shown is touched. What is young is left alone, since its writer may
be about to name it.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from storage.atomic import is_aside
from storage.listing import Entry, entries_below
from storage.local_artifacts import LIST
from storage.object_store import answered
from storage.paths import Layout
from storage.remote_artifacts import stated_writer
from storage.uri import is_remote

YOUNG: Final = 24 * 3600
"""Seconds for which a writer may take to name what it has written."""


@dataclass(frozen=True)
class Leftover:
    """A file that may go.

    Attributes:
        path: from the root of the store.
        bytes: of it.
        why: in a few words.
    """

    path: str
    bytes: int
    why: str


def leftovers(
    layout: Layout, listed: Collection[str], runs: Collection[str], now: float
) -> list[Leftover]:
    """Files of killed writers, files that no commit lists, and what belonged to runs that are gone.

    Args:
        layout: of the store.
        listed: paths that the commits of all runs name, but for those that are replaced.
        runs: names of the runs that are there.
        now: seconds since 1970.
    """
    entries, found = entries_below(layout.root), []
    lost = frozenset(_unnamed(layout, entries)) if is_remote(layout.root) else frozenset()
    for name, entry in entries.items():
        why = _why(PurePosixPath(name), frozenset(listed), frozenset(runs), lost)
        if why and now - entry.modified > YOUNG:
            found.append(Leftover(name, entry.bytes, why))
    return found


def unused_parts(
    layout: Layout, keep: Collection[tuple[str, str]], days: float, now: float
) -> list[Leftover]:
    """Files of parts that no audit has used for so long.

    Args:
        layout: of the store.
        keep: kind and digest of parts that are kept whatever their age.
        days: since a part was last used; `part.json` is written anew when it is, once a day.
        now: seconds since 1970.
    """
    entries = entries_below(layout.all_parts)
    parts: dict[tuple[str, str], dict[str, Entry]] = {}
    for name, entry in entries.items():
        kind, digest, *rest = PurePosixPath(name).parts
        if rest:
            parts.setdefault((kind, digest), {})["/".join(rest)] = entry
    old = now - days * 24 * 3600
    return [
        Leftover(f"parts/{kind}/{digest}/{name}", entry.bytes, f"not used for {days:g} days")
        for (kind, digest), files in parts.items()
        if (kind, digest) not in keep
        and not is_aside(Path(digest))
        and max(entry.modified for entry in files.values()) < old
        for name, entry in sorted(files.items(), key=lambda item: item[0] != LIST)
    ]


def files_of_run(layout: Layout, run: str) -> list[Leftover]:
    """Everything of a run, its record first: without it nobody looks at the rest."""
    folder = layout.record(run).parent
    places = [folder, *(layout.table(path.name, run) for path in _tables(layout))]
    found = []
    for place in places:
        start = _relative(layout, place)
        found += [
            Leftover(f"{start}/{name}", entry.bytes, "the run is forgotten")
            for name, entry in entries_below(place).items()
        ]
    return sorted(found, key=lambda one: not one.path.endswith("/run.json"))


def remove(layout: Layout, found: Iterable[Leftover]) -> None:
    """Remove files, in this order, and the folders that are empty then."""
    paths = [one.path for one in found]
    if is_remote(layout.root):
        root: Any = layout.root
        with answered(layout.root):
            for path in paths:
                with suppress(FileNotFoundError):
                    root.fs.rm_file(f"{root.path.rstrip('/')}/{path}")
        return
    for path in paths:
        (layout.root / path).unlink(missing_ok=True)
    for folder in sorted({p for path in paths for p in PurePosixPath(path).parents}, reverse=True):
        if folder.parts:  # never the root itself
            with suppress(OSError):  # it is not empty
                (layout.root / folder).rmdir()


def remove_copies(layout: Layout) -> int:
    """Remove this machine's copies of a bucket's parts; how many bytes they were."""
    size = sum(entry.bytes for entry in entries_below(layout.root).values())
    shutil.rmtree(layout.root, ignore_errors=True)
    return size


def _unnamed(layout: Layout, entries: Collection[str]) -> Iterator[str]:
    """Objects of parts under the name of a writer that the part's list does not name."""
    stated: dict[tuple[str, str], str | None] = {}
    for name in entries:
        place, *rest = PurePosixPath(name).parts
        if place != "parts" or len(rest) < 4:
            continue
        kind, digest, writer, *_ = rest
        if (kind, digest) not in stated:
            stated[kind, digest] = stated_writer(layout, kind, digest)
        if writer != stated[kind, digest]:
            yield name


def _why(
    path: PurePosixPath, listed: frozenset[str], runs: frozenset[str], lost: frozenset[str]
) -> str:
    if any(is_aside(Path(part)) for part in path.parts) or path.as_posix() in lost:
        return "its writer was killed"
    if path.parts[0] == "runs" and path.parts[1:2] and path.parts[1] not in runs:
        return "its run is gone"
    if path.parts[0] == "tables":
        run = next((p.removeprefix("run=") for p in path.parts if p.startswith("run=")), "")
        if run not in runs:
            return "its run is gone"
        if path.as_posix() not in listed:
            return "no commit lists it any more"
    return ""


def _tables(layout: Layout) -> Iterator[Path]:
    names = {PurePosixPath(name).parts[0] for name in entries_below(layout.tables)}
    return (layout.tables / name for name in sorted(names))


def _relative(layout: Layout, path: Path) -> str:
    return "/".join(path.parts[len(layout.root.parts) :])
