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

from storage.artifacts_store import PartsStore, bytes_below
from storage.atomic import create_bytes
from storage.commits import Commit, FileEntry, is_whole, read_commit, write_commit
from storage.compaction import COMPACT, compact
from storage.errors import StoreError
from storage.garbage_collection import (
    Leftover,
    files_of_run,
    leftovers,
    remove,
)
from storage.listing import sizes_below
from storage.object_store import answered
from storage.order import make_current, sequence_of
from storage.ownership import check, claim
from storage.paths import Layout, is_name
from storage.readable import compacted, damaged_commits, readable_files, stated_commits
from storage.run_record import RunRecord, RunStatus
from storage.schemas import TABLES, polars_schema, table_schema
from storage.shards import Shard
from storage.uri import location, scan_options

FINISH = "finish"


@dataclass(frozen=True)
class Store(PartsStore):
    """All results of one study, below one folder. Safe for many processes at once."""

    study: str

    @classmethod
    def open(cls, root: Path, study: str, create: bool = True) -> Store:
        """Open the store of a study; with `create`, for writing and made on first use.

        Raises:
            StoreError: another study's store, another format, a folder with other things in it,
                nothing there (without `create`), or no right to write (with it).
        """
        layout = Layout(location(root))
        with answered(layout.root):
            claim(layout, study, create)
        return cls(layout, study)

    @classmethod
    def check_run(cls, root: Path, record: RunRecord) -> None:
        """Refuse all that `open` and `open_run` would refuse, before anything is written.

        Raises:
            StoreError: as they do.
        """
        layout = Layout(location(root))
        with answered(layout.root):
            check(layout, record.study)
            if layout.record(record.run).exists():
                cls(layout, record.study)._check_same(record)

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
            self._check_same(record)

    def make_current(self, run: str) -> None:
        """Let a run come last of all, as the one that the study's tables and settings ask for.

        Raises:
            StoreError: it cannot be written.
        """
        make_current(self.layout, run, self._names())

    def _check_same(self, record: RunRecord) -> None:
        first = self.record(record.run)
        changes = first.differences(record)
        if changes or first.fingerprint != record.fingerprint:
            raise StoreError.at(
                self.layout.record(record.run),
                expected=f"run {record.run} to go on as it began",
                got=f"another setting ({'; '.join(changes) or 'other fingerprint'})",
                remedy="Set it back to resume this run, or give the new run another name.",
            )

    def record(self, run: str) -> RunRecord:
        """The record a run was opened with.

        Raises:
            StoreError: no such run, or its file is damaged.
        """
        path = self.layout.record(run)
        try:
            with answered(path):
                text = path.read_text()
            return RunRecord.from_json(text)
        except FileNotFoundError:
            names = self._names()
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

    def sequence_of(self, run: str) -> int:
        """The place of a run among the others; see `storage.order`."""
        return sequence_of(self.layout, run)

    def names(self) -> tuple[list[str], list[str]]:
        """Names of the runs; and of those whose record is lost while their commits are there."""
        below = {PurePosixPath(name).parts[0] for name in sizes_below(self.layout.runs)}
        runs = self._names()
        return runs, sorted(filter(is_name, below - set(runs)))

    def runs(self) -> list[RunStatus]:
        """Every run and how far it came, the current one first; see `storage.order`."""
        found = [(sequence_of(self.layout, name), self.status(name)) for name in self._names()]
        found.sort(key=lambda pair: (pair[0], pair[1].record.created, pair[1].record.run))
        return [status for _, status in reversed(found)]

    def latest(self) -> RunStatus | None:
        """The last finished run, also if it is damaged since; without one the last of all.

        None in an empty store.
        """
        runs = self.runs()
        finished = (status for status in runs if status.closed)
        return next(finished, runs[0] if runs else None)

    def commit(self, run: str, key: str, tables: Mapping[str, pl.DataFrame]) -> Commit:
        """Make the tables of a shard (key "00003"), of "train" or of "finish" visible together.

        A later commit of the same key takes the place of the earlier one, as a whole.

        Raises:
            StoreError: no such run or shard, a frame that is not its table (nothing is written
                then), or a disk that is full.
        """
        commit = write_commit(self.layout, self.record(run), key, tables)
        if key == FINISH:
            self.make_current(run)
        return commit

    def is_done(self, run: str, key: str) -> bool:
        """Whether a key is committed and its files are there."""
        return self._done(self.record(run), key) is not None

    def missing(self, run: str, shards: Iterable[Shard]) -> list[Shard]:
        """The shards still to compute: never committed, or with a file lost or cut short."""
        record = self.record(run)
        return [shard for shard in shards if self._done(record, shard.key) is None]

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
        files = self._files(table, run)
        groups = tuple(dict.fromkeys(name for file in files for name in file.groups))
        schema = polars_schema(table_schema(table, groups))
        if not files:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(
            [str(self.layout.root / file.path) for file in files],
            schema=schema,
            storage_options=scan_options(self.layout.root),
            missing_columns="insert",
            hive_partitioning=False,
            glob=False,
        )

    def compact(self, run: str) -> Commit | None:
        """One file a table in place of one a shard; None if it is so already, or too large for it.

        Raises:
            StoreError: the run is not finished, or the disk fails.
        """
        record = self.record(run)
        shards = [shard.key for shard in record.shards()]
        if not self.status(run).finished or self.missing(run, record.shards()):
            raise StoreError.at(
                f"run {run}", expected="a finished run", got="one in work", remedy="Finish it."
            )
        if len(shards) < 2 or self._done(record, COMPACT):
            return None
        first, *_ = stated_commits(self.layout, record, self._keys(run))
        names = {file.table for file in first.files}
        tables = {name: self.scan(name, run) for name in sorted(names & set(TABLES))}
        return compact(self.layout, record, shards, tables)

    def verify(self, run: str) -> list[str]:
        """Read every committed byte of a run and say what is wrong; empty when all is well."""
        return [text for found in self.damaged(run).values() for text in found]

    def damaged(self, run: str) -> dict[str, list[str]]:
        """The same by the key of the commit; those that are sound are left out."""
        return dict(damaged_commits(self.layout, self.record(run), self._keys(run)))

    def withdraw(self, run: str, keys: Collection[str]) -> None:
        """Take commits back, so that the next audit computes them again.

        A run whose shard is taken back is not finished either.
        """
        self.record(run)
        manifests = [self.layout.manifest(run, key) for key in (FINISH, *keys)] if keys else []
        remove(self.layout, [Leftover(self._relative(path), 0, "damaged") for path in manifests])

    def leftovers(self) -> list[Leftover]:
        """Files that no reader is ever shown and no writer will name any more."""
        runs = self._names()
        records = map(self.record, runs)
        stated = (stated_commits(self.layout, one, self._keys(one.run)) for one in records)
        listed = {file.path for commits in stated for commit in commits for file in commit.files}
        return leftovers(self.layout, listed, runs, time.time())

    def files_of(self, run: str) -> list[Leftover]:
        """Everything of a run; to remove it is to forget the run."""
        self.record(run)
        return files_of_run(self.layout, run)

    def remove(self, found: Iterable[Leftover]) -> None:
        """Remove what one of these three found.

        Raises:
            StoreError: the bucket does not answer.
        """
        remove(self.layout, found)

    def bytes_on_disk(self, run: str) -> int:
        """Bytes of everything that lies in the folders of a run."""
        folders = [self.layout.record(run).parent]
        folders += [self.layout.table(table, run) for table in TABLES]
        return sum(map(bytes_below, folders))

    def _relative(self, path: Path) -> str:
        return "/".join(path.parts[len(self.layout.root.parts) :])

    def _names(self) -> list[str]:
        found = (PurePosixPath(name) for name in sizes_below(self.layout.runs))
        names = (path.parts[0] for path in found if path.parts[1:] == ("run.json",))
        return sorted(filter(is_name, names))

    def _keys(self, run: str) -> list[str]:
        names = sizes_below(self.layout.manifest(run, FINISH).parent)
        return sorted(
            name.removesuffix(".json")
            for name in names
            if name.endswith(".json") and not name.startswith(".")
        )

    def _files(self, table: str, run: str) -> list[FileEntry]:
        return readable_files(self.layout, self.record(run), self._keys(run), table)

    def _done(self, record: RunRecord, key: str) -> Commit | None:
        commit = read_commit(self.layout.manifest(record.run, key))
        if commit and is_whole(self.layout, record, commit):
            return commit
        whole = None if key == COMPACT else compacted(self.layout, record)
        return whole if whole and key in whole.covers else None

    def status(self, run: str) -> RunStatus:
        """How far a run came."""
        record = self.record(run)
        planned = record.shards()
        done = len(planned) - len(self.missing(run, planned))
        with answered(self.layout.root):
            closed = self.layout.manifest(run, FINISH).exists()
        return RunStatus(record, done, len(planned), self.is_done(run, FINISH), closed)
