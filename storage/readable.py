"""The committed files of a table, each as it was written; what is lost or changed is an error.

A reader that left out a damaged shard would answer about other queries than were asked, so it is
refused by the file's name. Files in a folder are read once a process to compare their digest; of a
bucket, which keeps digests of its own, only the sizes are compared.
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
    """Files of a table in the order of their keys, a compact one in place of the shards'.

    Args:
        layout: of the store.
        record: of the run.
        keys: of all manifests that are there.
        table: by name.

    Raises:
        StoreError: a manifest or a file is lost, cut short or changed.
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
    """The commit that stands for all shards, if it is there and whole."""
    commit = read_commit(layout.manifest(record.run, COMPACT))
    return commit if commit and is_intact(layout, record, commit) else None


def read_commits(layout: Layout, record: RunRecord, keys: Sequence[str]) -> list[Commit]:
    """All that manifests state, whole or not: a lost file may be put back beside the others.

    Those that a compact commit stands for are left out.
    """
    compact = find_compact_commit(layout, record)
    covered = compact.covers if compact else ()
    commits = (read_commit(layout.manifest(record.run, key)) for key in keys)
    return [commit for commit in commits if commit and commit.key not in covered]


def find_damaged_commits(
    layout: Layout, record: RunRecord, keys: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """What is wrong with each commit of a run, read byte by byte; sound ones are left out."""
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
        raise _make_damage_error(manifest, "the manifest of a commit", "something unreadable")
    if commit.fingerprint != record.fingerprint:
        got = f"one of another run ({commit.fingerprint[:12]})"
        raise _make_damage_error(manifest, "a commit of this run", got)
    return commit


def _check_file(layout: Layout, record: RunRecord, file: FileEntry, compact_lost: bool) -> None:
    path = layout.root / file.path
    size = read_file_size(path)
    if size is None:
        note = "; nor is the compact commit whole" if compact_lost else ""
        raise _make_damage_error(path, f"a file of run {record.run}", f"nothing there{note}")
    if size != file.bytes:
        raise _make_damage_error(path, f"{file.bytes:,} bytes", f"{size:,}")
    if is_remote(path):
        return
    if _compute_sha256(path, size, path.stat().st_mtime_ns) != file.sha256:
        raise _make_damage_error(path, "the bytes that were committed", "others (another sha256)")


@lru_cache(maxsize=100_000)
def _compute_sha256(path: Path, size: int, modified: int) -> str:
    """Of a file; `size` and `modified` say when to read it again."""
    return sha256_file(path)


def _make_damage_error(path: Path, expected: str, got: str) -> StoreError:
    return StoreError(
        path,
        expected=expected,
        got=got,
        remedy="`fastif verify --repair` takes damaged commits back, then `fastif audit` computes "
        "them again; or put the file back.",
    )
