"""Runs of a store: their records, their order and the state of their commits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storage.artifacts_store import ArtifactStore, count_bytes_below
from storage.catalogue import Catalogue
from storage.commits import FINISH as FINISH
from storage.commits import Commit, is_intact, make_file_check, read_commit
from storage.compaction import COMPACT
from storage.listing import list_sizes
from storage.order import read_sequence
from storage.readable import find_compact_commit
from storage.run_files import RunFiles, read_record
from storage.run_record import RunRecord, RunStatus
from storage.schemas import TABLES
from storage.shards import Shard


@dataclass(frozen=True)
class RunStore(ArtifactStore):
    """Runs of a store, read-only; `storage.store.Store` adds the methods that write."""

    def read_record(self, run: str) -> RunRecord:
        """Return the record of a run.

        Args:
            run: Name of the run.

        Raises:
            StoreError: The run does not exist, or its record is damaged.
        """
        return read_record(self.layout, run)

    def read_sequence(self, run: str) -> int:
        """Return the sequence number of a run, 0 or more; see `storage.order`.

        Args:
            run: Name of the run.

        Raises:
            StoreError: The file `order.json` is damaged.
        """
        return read_sequence(self.layout, run)

    def list_names(self) -> tuple[list[str], list[str]]:
        """Return the names of all runs, and of damaged ones.

        Returns:
            Names of runs with a record, and names of runs with commits but without a record.
        """
        catalogue = Catalogue.read(self.layout)
        return catalogue.names, catalogue.names_without_record

    def list_runs(self) -> list[RunStatus]:
        """Return the status of every run, the current one first; see `storage.order`."""
        catalogue = Catalogue.read(self.layout)
        runs = [catalogue.read_run(name) for name in catalogue.names]
        runs.sort(key=lambda run: (run.sequence, run.record.created, run.record.run), reverse=True)
        has_file = make_file_check(self.layout)
        return [run.make_status(has_file) for run in runs]

    def find_latest(self) -> RunStatus | None:
        """Return the status of the latest finished run, damaged since or not.

        Without a finished run, the status of the latest run; None in an empty store.
        """
        runs = self.list_runs()
        finished = (status for status in runs if status.was_finished)
        return next(finished, runs[0] if runs else None)

    def read_status(self, run: str) -> RunStatus:
        """Return the state of a run's commits.

        Args:
            run: Name of the run.

        Raises:
            StoreError: The run does not exist, or its record is damaged.
        """
        files = RunFiles.read(self.layout, run, self._list_keys(run))
        return files.make_status(make_file_check(self.layout, run))

    def is_committed(self, run: str, key: str) -> bool:
        """Return whether a key of a run is committed and all its files are there.

        Args:
            run: Name of the run.
            key: Key of a shard ("00003"), "train", "finish" or "compact".

        Raises:
            StoreError: The run does not exist, or its record is damaged.
        """
        return self._find_commit(self.read_record(run), key) is not None

    def find_missing(self, run: str, shards: Iterable[Shard]) -> list[Shard]:
        """Return the shards that remain to be computed.

        A shard remains if it was never committed, or if one of its files is missing or truncated.

        Args:
            run: Name of the run.
            shards: Shards to check.

        Raises:
            StoreError: The run does not exist, or its record is damaged.
        """
        record = self.read_record(run)
        return [shard for shard in shards if self._find_commit(record, shard.key) is None]

    def count_run_bytes(self, run: str) -> int:
        """Return the size in bytes of all files of a run, without the shared artifacts.

        Args:
            run: Name of the run.
        """
        folders = [self.layout.record(run).parent]
        folders += [self.layout.table(table, run) for table in TABLES]
        return sum(map(count_bytes_below, folders))

    def _list_keys(self, run: str) -> list[str]:
        names = list_sizes(self.layout.manifest(run, FINISH).parent)
        return sorted(
            name.removesuffix(".json")
            for name in names
            if name.endswith(".json") and not name.startswith(".")
        )

    def _find_commit(self, record: RunRecord, key: str) -> Commit | None:
        commit = read_commit(self.layout.manifest(record.run, key))
        if commit and is_intact(self.layout, record, commit):
            return commit
        compact_commit = None if key == COMPACT else find_compact_commit(self.layout, record)
        return compact_commit if compact_commit and key in compact_commit.covers else None
