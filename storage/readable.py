"""Verified reading: the committed files of a table, or an error if one is missing or changed.

Skipping a damaged shard would silently change the set of queries, so reading fails and names the
file. Local files are hashed once a process. For objects in a bucket, which are checksummed by the
service, only the sizes are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from storage.commits import (
    Commit,
    FileEntry,
    find_commit_problems,
    is_intact,
    read_commit,
    read_file_size,
)
from storage.compaction import COMPACT
from storage.errors import StoreError
from storage.paths import Layout
from storage.run_record import RunRecord, sha256_file
from storage.uri import is_remote


def list_readable_files(
    layout: Layout, record: RunRecord, keys: Sequence[str], table: str
) -> list[FileEntry]:
    """Return the files of a table in the order of their keys.

    Files of a compact commit take the place of those of the shards it covers.

    Args:
        layout: Paths of the store.
        record: Record of the run.
        keys: Keys of all manifests of the run.
        table: Name of the table.

    Raises:
        StoreError: A manifest or a file is missing, truncated or changed.
    """
    compact = find_compact_commit(layout, record)
    covered = (COMPACT, *(compact.covers if compact else ()))
    commits = [compact] if compact else []
    for key in keys:
        if key not in covered:
            commits.append(_read_manifest(layout, record, key))
    files = [file for commit in commits for file in commit.files if file.table == table]
    for file in files:
        _check_file(layout, record, file, COMPACT in keys and not compact)
    return files


def find_compact_commit(layout: Layout, record: RunRecord) -> Commit | None:
    """Return the compact commit of a run if it is intact, else None."""
    commit = read_commit(layout.manifest(record.run, COMPACT))
    return commit if commit and is_intact(layout, record, commit) else None


def read_commits(layout: Layout, record: RunRecord, keys: Sequence[str]) -> list[Commit]:
    """Return all readable commits, intact or not, so that a lost file can be restored later.

    Commits that the compact commit replaces are left out.
    """
    compact = find_compact_commit(layout, record)
    covered = compact.covers if compact else ()
    commits = (read_commit(layout.manifest(record.run, key)) for key in keys)
    return [commit for commit in commits if commit and commit.key not in covered]


def find_damaged_commits(
    layout: Layout, record: RunRecord, keys: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """Compare every commit of a run byte by byte with its digests.

    Yields:
        Key and messages of each damaged commit.
    """
    compact = find_compact_commit(layout, record)
    covered = compact.covers if compact else ()
    for key in keys:
        messages = [] if key in covered else find_commit_problems(layout, record, key)
        if messages:
            yield key, messages


def _read_manifest(layout: Layout, record: RunRecord, key: str) -> Commit:
    manifest = layout.manifest(record.run, key)
    commit = read_commit(manifest)
    if commit is None:
        raise _make_damage_error(manifest, "the manifest of a commit", "an unreadable file")
    if commit.fingerprint != record.fingerprint:
        got = f"a commit of another run ({commit.fingerprint[:12]})"
        raise _make_damage_error(manifest, "a commit of this run", got)
    return commit


def _check_file(layout: Layout, record: RunRecord, file: FileEntry, compact_lost: bool) -> None:
    path = layout.root / file.path
    size = read_file_size(path)
    if size is None:
        note = ", and the compact commit is damaged too" if compact_lost else ""
        raise _make_damage_error(path, f"a file of run {record.run}", f"no file{note}")
    if size != file.bytes:
        raise _make_damage_error(path, f"{file.bytes:,} bytes", f"{size:,} bytes")
    if is_remote(path):
        return
    if _compute_sha256(path, size, path.stat().st_mtime_ns) != file.sha256:
        raise _make_damage_error(path, "the committed bytes", "other bytes (different SHA-256)")


@lru_cache(maxsize=100_000)
def _compute_sha256(path: Path, size: int, modified: int) -> str:
    """Return the SHA-256 of a file; `size` and `modified` are part of the cache key."""
    return sha256_file(path)


def _make_damage_error(path: Path, expected: str, got: str) -> StoreError:
    return StoreError(
        path,
        expected=expected,
        got=got,
        remedy="Restore the file, or run `fastif verify --repair` (withdraws damaged commits) and "
        "then `fastif audit` (recomputes them).",
    )
