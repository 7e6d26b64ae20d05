"""Garbage collection: temporary and replaced files, removed runs, unused artifacts.

Files that a reader can reach are never collected. Neither are files younger than `GRACE_SECONDS`,
since a running writer may be about to list them in a manifest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from storage.atomic import is_temp_path
from storage.listing import Entry, list_entries
from storage.local_artifacts import LISTING
from storage.object_store import translate_s3_errors
from storage.paths import Layout
from storage.remote_artifacts import read_writer
from storage.run_files import HasFile, RunFiles
from storage.uri import is_remote

GRACE_SECONDS: Final = 24 * 3600
"""Minimum age in seconds of an unlisted file before it is collected."""


REPLACED: Final = "its run is compact"
"""Reason to remove the files of a shard that a compact commit replaces."""


@dataclass(frozen=True)
class Leftover:
    """File that can be removed.

    Attributes:
        path: Path relative to the root of the store.
        bytes: Size in bytes.
        reason: Short reason why it can be removed.
    """

    path: str
    bytes: int
    reason: str


def find_leftovers(
    layout: Layout, committed: Collection[str], runs: Collection[str], now: float
) -> list[Leftover]:
    """Return temporary files, files that no commit lists, and files of runs that were removed.

    Args:
        layout: Paths of the store.
        committed: Paths that the commits of all runs list.
        runs: Names of the runs in the store.
        now: Current time in seconds since 1970.
    """
    entries, removable = list_entries(layout.root), []
    orphans = frozenset(_find_orphans(layout, entries)) if is_remote(layout.root) else frozenset()
    for name, entry in entries.items():
        reason = _find_reason(PurePosixPath(name), frozenset(committed), frozenset(runs), orphans)
        if reason and now - entry.modified > GRACE_SECONDS:
            removable.append(Leftover(name, entry.bytes, reason))
    return removable


def find_replaced_files(
    layout: Layout, runs: Iterable[RunFiles], has_file: HasFile, now: float
) -> list[Leftover]:
    """Return the shards' manifests and files that compact commits replace, a day after the run.

    The manifests come first: without them a reader ignores the files.

    Args:
        layout: Paths of the store.
        runs: Content of the JSON files of the runs.
        has_file: Function that returns whether a committed file is there.
        now: Current time in seconds since 1970.
    """
    manifests, files = [], []
    for run in runs:
        for commit in run.list_replaced_commits(has_file, now - GRACE_SECONDS):
            path = _relative_path(layout, layout.manifest(run.record.run, commit.key))
            manifests.append(Leftover(path, 0, REPLACED))
            files += [Leftover(file.path, file.bytes, REPLACED) for file in commit.files]
    return manifests + files


def find_unused_artifacts(
    layout: Layout, keep: Collection[tuple[str, str]], days: float, now: float
) -> list[Leftover]:
    """Return the files of artifacts that no run has used for a number of days.

    Args:
        layout: Paths of the store.
        keep: (kind, digest) of artifacts that are kept regardless of their age.
        days: Days since the last use; `part.json` is touched on use, at most once a day.
        now: Current time in seconds since 1970.
    """
    entries = list_entries(layout.all_artifacts)
    artifacts: dict[tuple[str, str], dict[str, Entry]] = {}
    for name, entry in entries.items():
        kind, digest, *rest = PurePosixPath(name).parts
        if rest:
            artifacts.setdefault((kind, digest), {})["/".join(rest)] = entry
    oldest_use = now - days * 24 * 3600
    return [
        Leftover(f"parts/{kind}/{digest}/{name}", entry.bytes, f"not used for {days:g} days")
        for (kind, digest), files in artifacts.items()
        if (kind, digest) not in keep
        and not is_temp_path(Path(digest))
        and max(entry.modified for entry in files.values()) < oldest_use
        for name, entry in sorted(files.items(), key=lambda item: item[0] != LISTING)
    ]


def list_run_files(layout: Layout, run: str) -> list[Leftover]:
    """Return all files of a run, its `run.json` first: without it readers ignore the rest."""
    folder = layout.record(run).parent
    folders = [folder, *(layout.table(path.name, run) for path in _list_tables(layout))]
    files = []
    for base in folders:
        prefix = _relative_path(layout, base)
        files += [
            Leftover(f"{prefix}/{name}", entry.bytes, "the run is removed")
            for name, entry in list_entries(base).items()
        ]
    return sorted(files, key=lambda file: not file.path.endswith("/run.json"))


def remove_files(layout: Layout, files: Iterable[Leftover]) -> None:
    """Remove files in the given order, then the folders that became empty.

    Raises:
        StoreError: The bucket does not respond.
    """
    paths = [leftover.path for leftover in files]
    if is_remote(layout.root):
        root: Any = layout.root
        with translate_s3_errors(layout.root):
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


def _find_orphans(layout: Layout, entries: Collection[str]) -> Iterator[str]:
    """Yield objects of an artifact that its `part.json` does not list."""
    writers: dict[tuple[str, str], str | None] = {}
    for name in entries:
        top, *rest = PurePosixPath(name).parts
        if top != "parts" or len(rest) < 4:
            continue
        kind, digest, writer, *_ = rest
        if (kind, digest) not in writers:
            writers[kind, digest] = read_writer(layout, kind, digest)
        if writer != writers[kind, digest]:
            yield name


def _find_reason(
    path: PurePosixPath, committed: frozenset[str], runs: frozenset[str], orphans: frozenset[str]
) -> str:
    if any(is_temp_path(Path(part)) for part in path.parts) or path.as_posix() in orphans:
        return "its writer was killed"
    if path.parts[0] == "runs" and path.parts[2:] and path.parts[1] not in runs:
        return "its run was deleted"
    if path.parts[0] == "tables":
        run = next((p.removeprefix("run=") for p in path.parts if p.startswith("run=")), "")
        if run not in runs:
            return "its run was deleted"
        if path.as_posix() not in committed:
            return "no commit lists it"
    return ""


def _list_tables(layout: Layout) -> Iterator[Path]:
    names = {PurePosixPath(name).parts[0] for name in list_entries(layout.tables)}
    return (layout.tables / name for name in sorted(names))


def _relative_path(layout: Layout, path: Path) -> str:
    return "/".join(path.parts[len(layout.root.parts) :])
