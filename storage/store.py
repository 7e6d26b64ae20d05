"""The store: runs, their committed shards, and lazy tables over them.

A shard exists if and only if its manifest does and every file the manifest lists is there with its
size. There is no table of states and no overwrite flag: to resume, ask what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from storage.atomic import create_bytes
from storage.commits import Commit, FileEntry, write_commit
from storage.compaction import COMPACT, compact
from storage.errors import StoreError
from storage.garbage_collection import (
    Leftover,
    find_leftovers,
    list_run_files,
    remove_files,
)
from storage.object_store import translate_s3_errors
from storage.order import make_current
from storage.ownership import check_ownership, claim_ownership
from storage.paths import Layout
from storage.readable import (
    find_damaged_commits,
    list_readable_files,
    read_commits,
)
from storage.run_record import RunRecord
from storage.run_store import FINISH, RunStore
from storage.schemas import TABLES, polars_schema, table_schema
from storage.uri import make_scan_options, parse_location


@dataclass(frozen=True)
class Store(RunStore):
    """All results of one study, below one folder. Safe for many processes at once."""

    study: str

    @classmethod
    def open(cls, root: Path, study: str, create: bool = True) -> Store:
        """Open the store of a study; with `create`, for writing and made on first use.

        Raises:
            StoreError: another study's store, another format, a folder with other things in it,
                nothing there (without `create`), or no right to write (with it).
        """
        layout = Layout(parse_location(root))
        with translate_s3_errors(layout.root):
            claim_ownership(layout, study, create)
        return cls(layout, study)

    @classmethod
    def check_run(cls, root: Path, record: RunRecord) -> None:
        """Refuse all that `open` and `open_run` would refuse, before anything is written.

        Raises:
            StoreError: as they do.
        """
        layout = Layout(parse_location(root))
        with translate_s3_errors(layout.root):
            check_ownership(layout, record.study)
            if layout.record(record.run).exists():
                cls(layout, record.study)._check_same_record(record)

    def open_run(self, record: RunRecord) -> None:
        """Begin a run, or go on with it: the first record of a run stays.

        Raises:
            StoreError: a run of this name computes something else, or is cut into other shards.
        """
        path = self.layout.record(record.run)
        if record.study != self.study:
            raise StoreError(
                path,
                expected=f"a run of study {self.study!r}",
                got=f"one of study {record.study!r}",
                remedy="Open the store of that study.",
            )
        if create_bytes(path, record.to_json().encode()):
            self.make_current(record.run)
        else:
            self._check_same_record(record)

    def make_current(self, run: str) -> None:
        """Let a run come last of all, as the one that the study's tables and settings ask for.

        Raises:
            StoreError: it cannot be written.
        """
        make_current(self.layout, run, self._list_names())

    def _check_same_record(self, record: RunRecord) -> None:
        first = self.read_record(record.run)
        changes = first.find_differences(record)
        if changes or first.fingerprint != record.fingerprint:
            raise StoreError(
                self.layout.record(record.run),
                expected=f"run {record.run} to go on as it began",
                got=f"another setting ({'; '.join(changes) or 'other fingerprint'})",
                remedy="Set it back to resume this run, or give the new run another name.",
            )

    def commit(self, run: str, key: str, tables: Mapping[str, pl.DataFrame]) -> Commit:
        """Make the tables of a shard (key "00003"), of "train" or of "finish" visible together.

        A later commit of the same key takes the place of the earlier one, as a whole.

        Raises:
            StoreError: no such run or shard, a frame that is not its table (nothing is written
                then), or a disk that is full.
        """
        commit = write_commit(self.layout, self.read_record(run), key, tables)
        if key == FINISH:
            self.make_current(run)
        return commit

    def scan(self, table: str, run: str) -> pl.LazyFrame:
        """The committed rows of a table, ordered by shard; exactly the columns of its schema.

        Only files that a manifest lists are read, so what a killed writer left is never seen.

        Raises:
            StoreError: no such table or run, or one of these files is not as it was committed.
        """
        if table not in TABLES:
            raise StoreError(
                "scan", expected=f"one of {', '.join(TABLES)}", got=repr(table), remedy="Rename it."
            )
        files = self._list_table_files(table, run)
        groups = tuple(dict.fromkeys(name for file in files for name in file.groups))
        schema = polars_schema(table_schema(table, groups))
        if not files:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(
            [str(self.layout.root / file.path) for file in files],
            schema=schema,
            storage_options=make_scan_options(self.layout.root),
            missing_columns="insert",
            hive_partitioning=False,
            glob=False,
        )

    def compact(self, run: str) -> Commit | None:
        """One file a table in place of one a shard; None if it is so already, or too large for it.

        Raises:
            StoreError: the run is not finished, or the disk fails.
        """
        record = self.read_record(run)
        shards = [shard.key for shard in record.list_shards()]
        if not self.read_status(run).finished or self.find_missing(run, record.list_shards()):
            raise StoreError(
                f"run {run}", expected="a finished run", got="one in work", remedy="Finish it."
            )
        if len(shards) < 2 or self._find_commit(record, COMPACT):
            return None
        first, *_ = read_commits(self.layout, record, self._list_keys(run))
        names = {file.table for file in first.files}
        tables = {name: self.scan(name, run) for name in sorted(names & set(TABLES))}
        return compact(self.layout, record, shards, tables)

    def verify(self, run: str) -> list[str]:
        """Read every committed byte of a run and say what is wrong; empty when all is well."""
        return [text for messages in self.find_damaged(run).values() for text in messages]

    def find_damaged(self, run: str) -> dict[str, list[str]]:
        """The same by the key of the commit; those that are sound are left out."""
        return dict(find_damaged_commits(self.layout, self.read_record(run), self._list_keys(run)))

    def withdraw(self, run: str, keys: Collection[str]) -> None:
        """Take commits back, so that the next audit computes them again.

        A run whose shard is taken back is not finished either.
        """
        self.read_record(run)
        manifests = [self.layout.manifest(run, key) for key in (FINISH, *keys)] if keys else []
        remove_files(
            self.layout, [Leftover(self._relative_path(path), 0, "damaged") for path in manifests]
        )

    def find_leftovers(self) -> list[Leftover]:
        """Files that no reader is ever shown and no writer will name any more."""
        runs = self._list_names()
        records = map(self.read_record, runs)
        commits_by_run = (
            read_commits(self.layout, record, self._list_keys(record.run)) for record in records
        )
        committed = {
            file.path for commits in commits_by_run for commit in commits for file in commit.files
        }
        return find_leftovers(self.layout, committed, runs, time.time())

    def list_run_files(self, run: str) -> list[Leftover]:
        """Everything of a run; to remove it is to forget the run."""
        self.read_record(run)
        return list_run_files(self.layout, run)

    def remove(self, files: Iterable[Leftover]) -> None:
        """Remove what one of these three found.

        Raises:
            StoreError: the bucket does not answer.
        """
        remove_files(self.layout, files)

    def _relative_path(self, path: Path) -> str:
        return "/".join(path.parts[len(self.layout.root.parts) :])

    def _list_table_files(self, table: str, run: str) -> list[FileEntry]:
        return list_readable_files(self.layout, self.read_record(run), self._list_keys(run), table)
