"""Removal of runs, and of files that no reader needs, from a store."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from storage import garbage_collection as sweep
from storage.catalogue import Catalogue
from storage.commits import FINISH, make_file_check
from storage.compaction import COMPACT
from storage.garbage_collection import (
    Leftover,
    find_leftovers,
    find_replaced_files,
    list_run_files,
    remove_files,
)
from storage.run_store import RunStore


@dataclass(frozen=True)
class PrunableStore(RunStore):
    """Runs of a store and the removal of their files; `storage.store.Store` adds the rest."""

    def withdraw(self, run: str, keys: Collection[str]) -> None:
        """Withdraw commits, so that the next audit recomputes them.

        A run with a withdrawn commit is no longer finished.

        Args:
            run: Name of the run.
            keys: Keys of the commits.

        Raises:
            StoreError: The run does not exist, or its record is damaged.
        """
        self.read_record(run)
        manifests = [self.layout.manifest(run, key) for key in (FINISH, *keys)] if keys else []
        remove_files(
            self.layout, [Leftover(self._relative_path(path), 0, "damaged") for path in manifests]
        )

    def find_leftovers(self) -> list[Leftover]:
        """Return files of interrupted writers and replaced files, which no reader needs.

        Returns:
            Files that can be removed, all older than a day
            (`storage.garbage_collection.GRACE_SECONDS`).
        """
        catalogue, has_file = Catalogue.read(self.layout), make_file_check(self.layout)
        runs = [catalogue.read_run(run) for run in catalogue.names]
        committed = {
            f.path for run in runs for commit in run.commits.values() for f in commit.files
        }
        now = time.time()
        replaced = find_replaced_files(self.layout, runs, has_file, now)
        return replaced + find_leftovers(self.layout, committed, catalogue.names, now)

    def find_replaced_files(self) -> list[Leftover]:
        """Return files of shards that compact commits replace, of runs finished a day ago.

        Returns:
            Files that can be removed, without a listing of the whole store.
        """
        catalogue, has_file = Catalogue.read(self.layout), make_file_check(self.layout)
        runs = (catalogue.read_run(run) for run in catalogue.names)
        return find_replaced_files(self.layout, runs, has_file, time.time())

    def find_scattered_runs(self, max_rows: int) -> list[str]:
        """Return the names of runs that were finished a day ago or before and are not compact.

        Args:
            max_rows: Number of rows of all tables together up to which a run is listed.
        """
        catalogue, latest = Catalogue.read(self.layout), time.time() - sweep.GRACE_SECONDS
        runs = (catalogue.read_run(run) for run in catalogue.names)
        return [
            run.record.run
            for run in runs
            if COMPACT not in run.commits
            and len(run.record.list_shards()) > 1
            and run.is_finished_before(latest)
            and run.count_rows() <= max_rows
        ]

    def list_run_files(self, run: str) -> list[Leftover]:
        """Return all files of a run; removing them deletes the run.

        Args:
            run: Name of the run.

        Raises:
            StoreError: The run does not exist, or its record is damaged.
        """
        self.read_record(run)
        return list_run_files(self.layout, run)

    def remove(self, files: Iterable[Leftover]) -> None:
        """Remove files found by `find_leftovers`, `find_unused_artifacts` or `list_run_files`.

        Args:
            files: Files, removed in this order.

        Raises:
            StoreError: The bucket does not respond.
        """
        remove_files(self.layout, files)

    def _relative_path(self, path: Path) -> str:
        return "/".join(path.parts[len(self.layout.root.parts) :])
