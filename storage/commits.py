"""Commits: the Parquet files of a shard, made visible together by a JSON manifest.

Files are named by the SHA-256 of their bytes. A commit that is repeated after a crash finds its own
files again, two processes that commit the same rows write the same file, and two that commit
different rows never overwrite each other's files. The manifest is written last and atomically; it
alone decides what is committed.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from storage.atomic import write_bytes
from storage.errors import StoreError
from storage.frame_validation import check_range, validate_frame
from storage.listing import list_sizes
from storage.object_store import translate_s3_errors
from storage.parquet import encode_parquet
from storage.paths import Layout
from storage.run_record import RunRecord
from storage.sealed import seal, unseal
from storage.uri import is_remote

FINISH: Final = "finish"
"""Key of the last commit of a run."""


@dataclass(frozen=True)
class FileEntry:
    """A committed Parquet file, as its manifest lists it.

    Attributes:
        table: Name of the table, such as "scores".
        path: Path relative to the root of the store.
        rows: Number of rows.
        bytes: Size of the file in bytes.
        sha256: Hexadecimal SHA-256 of the file.
        groups: Names of the group columns in the file, without the prefix `group_`.
    """

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Commit:
    """Content of a manifest: the files of one key of a run.

    Attributes:
        key: Shard number with five digits ("00003"), "train", "finish" or "compact".
        fingerprint: Fingerprint of the run that made the commit.
        files: Committed files.
        committed: Time of the commit, ISO 8601 in UTC.
        covers: Keys of other commits that this one replaces; see `storage.compaction`.
    """

    key: str
    fingerprint: str
    files: tuple[FileEntry, ...]
    committed: str
    covers: tuple[str, ...] = ()


def write_commit(
    layout: Layout,
    record: RunRecord,
    key: str,
    tables: Mapping[str, pl.DataFrame],
    covers: tuple[str, ...] = (),
) -> Commit:
    """Validate every table, write its Parquet file, then write the manifest.

    Args:
        layout: Paths of the store.
        record: Record of the run.
        key: Key of the commit; see `Commit`.
        tables: Frames by the name of their table.
        covers: Keys of the commits that this one replaces.

    Raises:
        StoreError: A table is invalid (nothing is written then), or the disk fails.
    """
    where = f"run {record.run}, {key}"
    manifest = layout.manifest(record.run, key)
    encoded = [_encode_table(record, key, name, frame, where) for name, frame in tables.items()]
    files: list[FileEntry] = []
    for table, groups, rows, data in encoded:
        digest = hashlib.sha256(data).hexdigest()
        path = layout.file(table, record.run, key, digest)
        write_bytes(path, data)
        relative = path.relative_to(layout.root).as_posix()
        files.append(FileEntry(table, relative, rows, len(data), digest, groups))
    now = datetime.now(UTC).isoformat()
    commit = Commit(key, record.fingerprint, tuple(files), now, covers)
    write_bytes(manifest, seal(asdict(commit)))
    return commit


def read_commit(manifest: Path) -> Commit | None:
    """Read a manifest; None if it is missing, damaged or copied to another name.

    Programs that synchronise folders leave copies of files under other names. Such a copy is
    ignored, since its shard would be counted twice.

    Raises:
        StoreError: The file cannot be read, which must not be mistaken for a missing commit.
    """
    try:
        with translate_s3_errors(manifest):
            text = manifest.read_bytes()
        commit = parse_commit(unseal(text))
        return commit if manifest.name == f"{commit.key}.json" else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    except OSError as error:
        raise StoreError(
            manifest,
            expected="a readable file",
            got=str(error.strerror),
            remedy="Check the disk and this user's permissions, then run again.",
        ) from error


def parse_commit(content: Mapping[str, Any]) -> Commit:
    """Return the commit of a manifest's content.

    Raises:
        KeyError, TypeError: The content is not that of a manifest.
    """
    files = [FileEntry(**{**file, "groups": tuple(file["groups"])}) for file in content["files"]]
    fields = (content["key"], content["fingerprint"], tuple(files), content["committed"])
    return Commit(*fields, tuple(content.get("covers", ())))


def is_intact(layout: Layout, record: RunRecord, commit: Commit) -> bool:
    """Return whether a commit belongs to the run and all its files have the right size.

    The bytes of the files are not read; see `find_commit_problems`.
    """
    return commit.fingerprint == record.fingerprint and all(
        read_file_size(layout.root / file.path) == file.bytes for file in commit.files
    )


def make_file_check(layout: Layout, run: str | None = None) -> Callable[[FileEntry], bool]:
    """Return a function that says whether a committed file is there with its size.

    A bucket is listed once, on first use, since a request for each file would be slow.

    Args:
        layout: Paths of the store.
        run: Name of the run whose files are checked; None for those of all runs.
    """
    if not is_remote(layout.root):
        root = str(layout.root)
        return lambda file: _read_local_size(f"{root}/{file.path}") == file.bytes
    listed: dict[str, dict[str, int]] = {}

    def has_file(file: FileEntry) -> bool:
        folder = layout.tables if run is None else layout.table(file.table, run)
        prefix = folder.relative_to(layout.root).as_posix()
        if prefix not in listed:
            listed[prefix] = list_sizes(folder)
        return listed[prefix].get(file.path.removeprefix(f"{prefix}/")) == file.bytes

    return has_file


def _read_local_size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None


def find_commit_problems(layout: Layout, record: RunRecord, key: str) -> list[str]:
    """Compare a commit byte by byte with its digests and return the problems found.

    Returns:
        One message a problem; empty if the commit is intact.
    """
    manifest = layout.manifest(record.run, key)
    commit = read_commit(manifest)
    if commit is None:
        return [f"{manifest}: not readable as a manifest"]
    messages = [
        problem
        for file in commit.files
        if (problem := _find_file_problem(layout, file)) is not None
    ]
    if commit.fingerprint != record.fingerprint:
        messages.insert(0, f"{manifest}: committed by another run ({commit.fingerprint[:12]})")
    return messages


def _encode_table(
    record: RunRecord, key: str, table: str, frame: pl.DataFrame, where: str
) -> tuple[str, tuple[str, ...], int, bytes]:
    validated = validate_frame(table, frame, where)
    if "query" in frame.columns:
        start, stop = _find_query_range(record, key, where)
        check_range(frame, "query", start, stop, f"table {table} of {where}")
    if "train" in frame.columns:
        check_range(frame, "train", 0, record.train_rows, f"table {table} of {where}")
    return table, validated.groups, frame.height, encode_parquet(validated.arrow)


def _find_query_range(record: RunRecord, key: str, where: str) -> tuple[int, int]:
    if not key.isdecimal():
        return 0, record.query_rows
    for shard in record.list_shards():
        if shard.key == key:
            return shard.start, shard.stop
    raise StoreError(
        where,
        expected=f"one of the run's {len(record.list_shards())} shards",
        got=f"key {key}",
        remedy="Take the shards from RunRecord.list_shards().",
    )


def read_file_size(path: Path) -> int | None:
    """Return the size of a file in bytes; None if it does not exist."""
    try:
        with translate_s3_errors(path):
            return path.stat().st_size
    except FileNotFoundError:
        return None


def _find_file_problem(layout: Layout, file: FileEntry) -> str | None:
    path = layout.root / file.path
    size = read_file_size(path)
    if size is None:
        return f"{path}: missing"
    if size != file.bytes:
        return f"{path}: expected {file.bytes} bytes, got {size}"
    with translate_s3_errors(path):
        data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != file.sha256:
        return f"{path}: the bytes changed since the commit (different SHA-256)"
    try:
        table = pq.ParquetFile(io.BytesIO(data)).read()
        table.validate(full=True)  # invalid UTF-8 would otherwise fail in a reader
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"{path}: not readable as Parquet ({_first_line(error)})"
    rows = table.num_rows
    if rows != file.rows:
        return f"{path}: expected {file.rows} rows, got {rows}"
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
