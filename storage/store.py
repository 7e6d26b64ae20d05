"""The store of a study: runs, their committed shards, and lazy tables over them.

A shard exists if and only if its manifest does and every file listed in it is there with its size.
There is no separate table of states: a run resumes with the shards that `find_missing` returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from storage.atomic import create_bytes
from storage.catalogue import Catalogue
from storage.commits import FINISH, Commit, FileEntry, write_commit
from storage.compaction import COMPACT, MAX_ROWS, compact
from storage.errors import StoreError
from storage.object_store import translate_s3_errors
from storage.order import make_current
from storage.ownership import check_ownership, claim_ownership
from storage.paths import Layout
from storage.prunable_store import PrunableStore
from storage.readable import find_damaged_commits, list_readable_files, read_commits
from storage.run_record import RunRecord
from storage.schemas import TABLES, polars_schema, table_schema
from storage.uri import make_scan_options, parse_location


@dataclass(frozen=True)
class Store(PrunableStore):
    """Results of one study below one folder or S3 prefix; safe for concurrent processes.

    Attributes:
        layout: Paths of the store.
        study: Name of the study.
    """

    study: str

    @classmethod
    def open(cls, root: Path, study: str, create: bool = True) -> Store:
        """Open the store of a study.

        Args:
            root: Folder or `s3://bucket/prefix`.
            study: Name of the study.
            create: Whether to open for writing, and to create the store if it is missing.

        Raises:
            StoreError: The store belongs to another study or has an unknown format; the folder
                holds other files; the store is missing (without `create`) or not writable (with
                it).
        """
        layout = Layout(parse_location(root))
        with translate_s3_errors(layout.root):
            claim_ownership(layout, study, create)
        return cls(layout, study)

    @classmethod
    def check_run(cls, root: Path, record: RunRecord) -> None:
        """Raise what `open` and `open_run` would raise, without writing anything.

        Args:
            root: Folder or `s3://bucket/prefix`.
            record: Record of the planned run.

        Raises:
            StoreError: The store or the run cannot be opened; see `open` and `open_run`.
        """
        layout = Layout(parse_location(root))
        with translate_s3_errors(layout.root):
            check_ownership(layout, record.study)
            if layout.record(record.run).exists():
                cls(layout, record.study)._check_same_record(record)

    def open_run(self, record: RunRecord) -> None:
        """Start a run, or resume it; the first record of a run is kept.

        Args:
            record: Record of the run.

        Raises:
            StoreError: The record is of another study, or a run of this name has another
                fingerprint or other shards.
        """
        path = self.layout.record(record.run)
        if record.study != self.study:
            raise StoreError(
                path,
                expected=f"a run of study {self.study!r}",
                got=f"a run of study {record.study!r}",
                remedy="Open the store of that study.",
            )
        if create_bytes(path, record.to_json().encode()):
            self.make_current(record.run)
        else:
            self._check_same_record(record)

    def make_current(self, run: str) -> None:
        """Make a run the current one: the run of the study's present tables and settings.

        Args:
            run: Name of the run.

        Raises:
            StoreError: The order of the runs cannot be written.
        """
        catalogue = Catalogue.read(self.layout)
        make_current(self.layout, run, {n: catalogue.read_sequence(n) for n in catalogue.names})

    def _check_same_record(self, record: RunRecord) -> None:
        first = self.read_record(record.run)
        changes = first.find_differences(record)
        if changes or first.fingerprint != record.fingerprint:
            raise StoreError(
                self.layout.record(record.run),
                expected=f"the settings that run {record.run} was started with",
                got=f"other settings ({'; '.join(changes) or 'other fingerprint'})",
                remedy="Restore them to resume this run, or give the new run another name.",
            )

    def commit(self, run: str, key: str, tables: Mapping[str, pl.DataFrame]) -> Commit:
        """Commit the tables of one key atomically.

        A later commit of the same key replaces the earlier one as a whole.

        Args:
            run: Name of the run.
            key: Key of a shard ("00003"), "train" or "finish".
            tables: Frames by the name of their table.

        Returns:
            Content of the new manifest.

        Raises:
            StoreError: The run or shard does not exist, a frame does not match its table
                (nothing is written then), or the disk is full.
        """
        commit = write_commit(self.layout, self.read_record(run), key, tables)
        if key == FINISH:
            self.make_current(run)
            with suppress(StoreError):  # it saves time of later readers, and is never needed
                Catalogue.read(self.layout).update()
        return commit

    def scan(self, table: str, run: str) -> pl.LazyFrame:
        """Scan the committed rows of a table in the order of the shards.

        Only files listed in a manifest are read, so files of interrupted writers never show.

        Args:
            table: Name of a table of `storage.schemas.TABLES`.
            run: Name of the run.

        Returns:
            Lazy frame with exactly the columns of the table's schema; empty before the first
            commit.

        Raises:
            StoreError: The table or run does not exist, or a file is missing or changed.
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

    def compact(self, run: str, max_rows: int = MAX_ROWS) -> Commit | None:
        """Merge the shards of a finished run into one file a table.

        Args:
            run: Name of the run.
            max_rows: Number of rows up to which a run is compacted, in memory.

        Returns:
            The compact commit; None if the run has a single shard, is compact already, or is too
            large.

        Raises:
            StoreError: The run is not finished, or the disk fails.
        """
        record = self.read_record(run)
        shards = [shard.key for shard in record.list_shards()]
        if not self.read_status(run).finished or self.find_missing(run, record.list_shards()):
            raise StoreError(
                f"run {run}",
                expected="a finished run",
                got="an unfinished run",
                remedy="Finish the run first.",
            )
        if len(shards) < 2 or self._find_commit(record, COMPACT):
            return None
        commits = read_commits(self.layout, record, shards)
        names = {file.table for commit in commits for file in commit.files}
        tables = {name: self.scan(name, run) for name in sorted(names & set(TABLES))}
        return compact(self.layout, record, shards, tables, max_rows)

    def verify(self, run: str) -> list[str]:
        """Compare every committed byte of a run with its digests.

        Args:
            run: Name of the run.

        Returns:
            One message a problem; empty if the run is intact.

        Raises:
            StoreError: The run does not exist, or its record is damaged.
        """
        return [text for messages in self.find_damaged(run).values() for text in messages]

    def find_damaged(self, run: str) -> dict[str, list[str]]:
        """Compare every committed byte of a run with its digests, commit by commit.

        Args:
            run: Name of the run.

        Returns:
            Messages by key of the commit; intact commits are left out.

        Raises:
            StoreError: The run does not exist, or its record is damaged.
        """
        return dict(find_damaged_commits(self.layout, self.read_record(run), self._list_keys(run)))

    def _list_table_files(self, table: str, run: str) -> list[FileEntry]:
        return list_readable_files(self.layout, self.read_record(run), self._list_keys(run), table)
