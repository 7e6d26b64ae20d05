"""The committed files of a table, each as it was written; what is lost or changed is an error.

A reader that left out a damaged shard would answer about other queries than were asked, so it is
refused by the file's name. Files in a folder are read once a process to compare their digest; of a
bucket, which keeps digests of its own, only the sizes are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from storage.commits import Commit, FileEntry, is_whole, problems, read_commit, size_of
from storage.compaction import COMPACT
from storage.errors import StoreError
from storage.paths import Layout
from storage.run_record import RunRecord, sha256_file
from storage.uri import is_remote


def readable_files(
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
    whole = compacted(layout, record)
    covered = (COMPACT, *(whole.covers if whole else ()))
    commits = [whole] if whole else []
    for key in keys:
        if key not in covered:
            commits.append(_read(layout, record, key))
    files = [file for commit in commits for file in commit.files if file.table == table]
    for file in files:
        _check(layout, record, file, COMPACT in keys and not whole)
    return files


def compacted(layout: Layout, record: RunRecord) -> Commit | None:
    """The commit that stands for all shards, if it is there and whole."""
    commit = read_commit(layout.manifest(record.run, COMPACT))
    return commit if commit and is_whole(layout, record, commit) else None


def stated_commits(layout: Layout, record: RunRecord, keys: Sequence[str]) -> list[Commit]:
    """All that manifests state, whole or not: a lost file may be put back beside the others.

    Those that a compact commit stands for are left out.
    """
    whole = compacted(layout, record)
    covered = whole.covers if whole else ()
    commits = (read_commit(layout.manifest(record.run, key)) for key in keys)
    return [commit for commit in commits if commit and commit.key not in covered]


def damaged_commits(
    layout: Layout, record: RunRecord, keys: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """What is wrong with each commit of a run, read byte by byte; sound ones are left out."""
    whole = compacted(layout, record)
    covered = whole.covers if whole else ()
    for key in keys:
        wrong = [] if key in covered else problems(layout, record, key)
        if wrong:
            yield key, wrong


def _read(layout: Layout, record: RunRecord, key: str) -> Commit:
    manifest = layout.manifest(record.run, key)
    commit = read_commit(manifest)
    if commit is None:
        raise _damaged(manifest, "the manifest of a commit", "something unreadable")
    if commit.fingerprint != record.fingerprint:
        got = f"one of another run ({commit.fingerprint[:12]})"
        raise _damaged(manifest, "a commit of this run", got)
    return commit


def _check(layout: Layout, record: RunRecord, file: FileEntry, lost: bool) -> None:
    path = layout.root / file.path
    size = size_of(path)
    if size is None:
        also = "; nor is the compact commit whole" if lost else ""
        raise _damaged(path, f"a file of run {record.run}", f"nothing there{also}")
    if size != file.bytes:
        raise _damaged(path, f"{file.bytes:,} bytes", f"{size:,}")
    if is_remote(path):
        return
    if _digest(path, size, path.stat().st_mtime_ns) != file.sha256:
        raise _damaged(path, "the bytes that were committed", "others (another sha256)")


@lru_cache(maxsize=100_000)
def _digest(path: Path, size: int, modified: int) -> str:
    """Of a file; `size` and `modified` say when to read it again."""
    return sha256_file(path)


def _damaged(path: Path, expected: str, got: str) -> StoreError:
    return StoreError.at(
        path,
        expected=expected,
        got=got,
        remedy="`fastif verify --repair` takes damaged commits back, then `fastif audit` computes "
        "them again; or put the file back.",
    )
