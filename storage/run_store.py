"""Runs of a store: their records, their order and the state of their commits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from storage.artifacts_store import ArtifactStore, count_bytes_below
from storage.commits import Commit, is_intact, read_commit
from storage.compaction import COMPACT
from storage.errors import StoreError
from storage.listing import list_sizes
from storage.object_store import translate_s3_errors
from storage.order import read_sequence
from storage.paths import is_valid_name
from storage.readable import (
    find_compact_commit,
)
from storage.run_record import RunRecord, RunStatus
from storage.schemas import TABLES
from storage.shards import Shard

FINISH = "finish"
"""Key of the last commit of a run."""


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
        path = self.layout.record(run)
        try:
            with translate_s3_errors(path):
                text = path.read_text()
            return RunRecord.from_json(text)
        except FileNotFoundError:
            names = self._list_names()
            raise StoreError(
                path,
                expected=f"run {run!r} in this store",
                got=f"the runs {', '.join(names)}" if names else "no runs",
                remedy="Use one of these names, or start the run first.",
            ) from None
        except (OSError, ValueError) as error:
            raise StoreError(
                path,
                expected="the record of a run",
                got=str(error),
                remedy=f"Restore the file, or remove {path.parent} to delete the run.",
            ) from error

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
        folders = {PurePosixPath(name).parts[0] for name in list_sizes(self.layout.runs)}
        runs = self._list_names()
        return runs, sorted(filter(is_valid_name, folders - set(runs)))

    def list_runs(self) -> list[RunStatus]:
        """Return the status of every run, the current one first; see `storage.order`."""
        statuses = [
            (read_sequence(self.layout, name), self.read_status(name))
            for name in self._list_names()
        ]
        statuses.sort(key=lambda pair: (pair[0], pair[1].record.created, pair[1].record.run))
        return [status for _, status in reversed(statuses)]

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
        record = self.read_record(run)
        planned = record.list_shards()
        done = len(planned) - len(self.find_missing(run, planned))
        with translate_s3_errors(self.layout.root):
            closed = self.layout.manifest(run, FINISH).exists()
        return RunStatus(record, done, len(planned), self.is_committed(run, FINISH), closed)

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

    def _find_commit(self, record: RunRecord, key: str) -> Commit | None:
        commit = read_commit(self.layout.manifest(record.run, key))
        if commit and is_intact(self.layout, record, commit):
            return commit
        compact_commit = None if key == COMPACT else find_compact_commit(self.layout, record)
        return compact_commit if compact_commit and key in compact_commit.covers else None
