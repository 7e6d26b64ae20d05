"""The store: runs, their committed shards, and lazy tables over them.

A shard exists if and only if its manifest does and every file the manifest lists is there with its
size. There is no table of states and no overwrite flag: to resume, ask what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import polars as pl

from storage.artifacts_store import ArtifactStore, count_bytes_below
from storage.atomic import create_bytes
from storage.commits import Commit, FileEntry, is_intact, read_commit, write_commit
from storage.compaction import COMPACT, compact
from storage.errors import StoreError
from storage.garbage_collection import (
    Leftover,
    find_leftovers,
    list_run_files,
    remove_files,
)
from storage.listing import list_sizes
from storage.object_store import translate_s3_errors
from storage.order import make_current, read_sequence
from storage.ownership import check_ownership, claim_ownership
from storage.paths import Layout, is_valid_name
from storage.readable import (
    find_compact_commit,
    find_damaged_commits,
    list_readable_files,
    read_commits,
)
from storage.run_record import RunRecord, RunStatus
from storage.schemas import TABLES, polars_schema, table_schema
from storage.shards import Shard
from storage.uri import make_scan_options, parse_location

FINISH = "finish"


@dataclass(frozen=True)
class Store(ArtifactStore):
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
            raise StoreError.at(
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
            raise StoreError.at(
                self.layout.record(record.run),
                expected=f"run {record.run} to go on as it began",
                got=f"another setting ({'; '.join(changes) or 'other fingerprint'})",
                remedy="Set it back to resume this run, or give the new run another name.",
            )

    def read_record(self, run: str) -> RunRecord:
        """The record a run was opened with.

        Raises:
            StoreError: no such run, or its file is damaged.
        """
        path = self.layout.record(run)
        try:
            with translate_s3_errors(path):
                text = path.read_text()
            return RunRecord.from_json(text)
        except FileNotFoundError:
            names = self._list_names()
            raise StoreError.at(
                path,
                expected=f"run {run!r} in this store",
                got=f"the runs {', '.join(names)}" if names else "no runs",
                remedy="Name one of these, or start the run first.",
            ) from None
        except (OSError, ValueError) as error:
            raise StoreError.at(
                path,
                expected="the record of a run",
                got=str(error),
                remedy=f"Restore the file, or remove {path.parent} to forget the run.",
            ) from error

    def read_sequence(self, run: str) -> int:
        """The place of a run among the others; see `storage.order`."""
        return read_sequence(self.layout, run)

    def list_names(self) -> tuple[list[str], list[str]]:
        """Names of the runs; and of those whose record is lost while their commits are there."""
        folders = {PurePosixPath(name).parts[0] for name in list_sizes(self.layout.runs)}
        runs = self._list_names()
        return runs, sorted(filter(is_valid_name, folders - set(runs)))

    def list_runs(self) -> list[RunStatus]:
        """Every run and how far it came, the current one first; see `storage.order`."""
        statuses = [
            (read_sequence(self.layout, name), self.read_status(name))
            for name in self._list_names()
        ]
        statuses.sort(key=lambda pair: (pair[0], pair[1].record.created, pair[1].record.run))
        return [status for _, status in reversed(statuses)]

    def find_latest(self) -> RunStatus | None:
        """The last finished run, also if it is damaged since; without one the last of all.

        None in an empty store.
        """
        runs = self.list_runs()
        finished = (status for status in runs if status.was_finished)
        return next(finished, runs[0] if runs else None)

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

    def is_committed(self, run: str, key: str) -> bool:
        """Whether a key is committed and its files are there."""
        return self._find_commit(self.read_record(run), key) is not None

    def find_missing(self, run: str, shards: Iterable[Shard]) -> list[Shard]:
        """The shards still to compute: never committed, or with a file lost or cut short."""
        record = self.read_record(run)
        return [shard for shard in shards if self._find_commit(record, shard.key) is None]

    def scan(self, table: str, run: str) -> pl.LazyFrame:
        """The committed rows of a table, ordered by shard; exactly the columns of its schema.

        Only files that a manifest lists are read, so what a killed writer left is never seen.

        Raises:
            StoreError: no such table or run, or one of these files is not as it was committed.
        """
        if table not in TABLES:
            raise StoreError.at(
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
            raise StoreError.at(
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

    def count_run_bytes(self, run: str) -> int:
        """Bytes of everything that lies in the folders of a run."""
        folders = [self.layout.record(run).parent]
        folders += [self.layout.table(table, run) for table in TABLES]
        return sum(map(count_bytes_below, folders))

    def _relative_path(self, path: Path) -> str:
        return "/".join(path.parts[len(self.layout.root.parts) :])

    def _list_names(self) -> list[str]:
        paths = (PurePosixPath(name) for name in list_sizes(self.layout.runs))
        names = (path.parts[0] for path in paths if path.parts[1:] == ("run.json",))
        return sorted(filter(is_valid_name, names))

    def _list_keys(self, run: str) -> list[str]:
        names = list_sizes(self.layout.manifest(run, FINISH).parent)
        return sorted(
            name.removesuffix(".json")
            for name in names
            if name.endswith(".json") and not name.startswith(".")
        )

    def _list_table_files(self, table: str, run: str) -> list[FileEntry]:
        return list_readable_files(self.layout, self.read_record(run), self._list_keys(run), table)

    def _find_commit(self, record: RunRecord, key: str) -> Commit | None:
        commit = read_commit(self.layout.manifest(record.run, key))
        if commit and is_intact(self.layout, record, commit):
            return commit
        compact_commit = None if key == COMPACT else find_compact_commit(self.layout, record)
        return compact_commit if compact_commit and key in compact_commit.covers else None

    def read_status(self, run: str) -> RunStatus:
        """How far a run came."""
        record = self.read_record(run)
        planned = record.list_shards()
        done = len(planned) - len(self.find_missing(run, planned))
        with translate_s3_errors(self.layout.root):
            closed = self.layout.manifest(run, FINISH).exists()
        return RunStatus(record, done, len(planned), self.is_committed(run, FINISH), closed)
