"""Content of the JSON files of a run: its record, its sequence number and its commits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Final, Self

from storage.commits import FINISH, Commit, FileEntry, parse_commit, read_commit
from storage.compaction import COMPACT
from storage.errors import StoreError
from storage.listing import list_names, list_sizes
from storage.object_store import translate_s3_errors
from storage.order import read_sequence
from storage.paths import Layout, is_valid_name
from storage.run_record import RunRecord, RunStatus
from storage.uri import is_remote

RECORD: Final = "run.json"
MANIFESTS: Final = "manifest/"

HasFile = Callable[[FileEntry], bool]
"""Function that returns whether a committed file is there with its size."""


def parse_time(text: str) -> float:
    """Return a time of ISO 8601 in seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def list_run_names(layout: Layout) -> list[str]:
    """Return the sorted names of the runs that have a record.

    Raises:
        StoreError: The folder is not readable, or the bucket does not respond.
    """
    if is_remote(layout.runs):
        paths = (PurePosixPath(name) for name in list_sizes(layout.runs))
        names = [path.parts[0] for path in paths if path.parts[1:] == (RECORD,)]
    else:
        names = list_names(layout.runs)
    valid = sorted(filter(is_valid_name, names))
    return [run for run in valid if is_remote(layout.runs) or layout.record(run).is_file()]


def read_record(layout: Layout, run: str) -> RunRecord:
    """Return the record of a run.

    Raises:
        StoreError: The run does not exist, or its record is damaged.
    """
    path = layout.record(run)
    try:
        with translate_s3_errors(path):
            text = path.read_text()
        return RunRecord.from_json(text)
    except FileNotFoundError:
        names = list_run_names(layout)
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


@dataclass(frozen=True, eq=False)
class RunFiles:
    """Content of the JSON files of a run.

    Attributes:
        record: Record of the run.
        sequence: Sequence number of the run; see `storage.order`.
        commits: Readable commits of this run by key, intact or not.
        was_finished: Whether the run has a manifest of its last commit, readable or not.
    """

    record: RunRecord
    sequence: int
    commits: Mapping[str, Commit]
    was_finished: bool

    @classmethod
    def read(cls, layout: Layout, run: str, keys: list[str]) -> Self:
        """Read the files of a run.

        Args:
            layout: Paths of the store.
            run: Name of the run.
            keys: Keys of the run's manifests.

        Raises:
            StoreError: The record or the sequence number is damaged, or a file is not readable.
        """
        commits = {key: read_commit(layout.manifest(run, key)) for key in keys}
        return cls(
            read_record(layout, run),
            read_sequence(layout, run),
            {key: commit for key, commit in commits.items() if commit},
            FINISH in keys,
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the content of files from the value of `to_json`."""
        commits = {key: parse_commit(value) for key, value in content["commits"].items()}
        record = RunRecord(**content["record"])
        return cls(record, content["sequence"], commits, content["was_finished"])

    def to_json(self) -> dict[str, object]:
        """Return the content as values that JSON can encode."""
        return {
            "record": asdict(self.record),
            "sequence": self.sequence,
            "commits": {key: asdict(commit) for key, commit in self.commits.items()},
            "was_finished": self.was_finished,
        }

    def list_replaced_commits(self, has_file: HasFile, before: float) -> list[Commit]:
        """Return the commits that an intact compact commit has replaced.

        Args:
            has_file: Function that returns whether a committed file is there.
            before: Time in seconds since 1970 before which the run has to be finished: another
                process may be at work on a younger one.
        """
        covered = self._find_covered(has_file)
        if not covered or not self.is_finished_before(before):
            return []
        return [commit for key, commit in self.commits.items() if key in covered]

    def is_finished_before(self, time: float) -> bool:
        """Return whether the run was finished before a time in seconds since 1970."""
        finish = self.commits.get(FINISH)
        return finish is not None and parse_time(finish.committed) <= time

    def count_rows(self) -> int:
        """Return the number of rows of all tables together."""
        return sum(file.rows for commit in self.commits.values() for file in commit.files)

    def make_status(self, has_file: HasFile) -> RunStatus:
        """Return the state of the run's commits.

        Args:
            has_file: Function that returns whether a committed file is there.
        """
        planned = self.record.list_shards()
        covered = self._find_covered(has_file)
        done = sum(
            shard.key in covered or self._is_intact(shard.key, has_file) for shard in planned
        )
        finished = self._is_intact(FINISH, has_file)
        return RunStatus(self.record, done, len(planned), finished, self.was_finished)

    def _find_covered(self, has_file: HasFile) -> frozenset[str]:
        is_intact = self._is_intact(COMPACT, has_file)
        return frozenset(self.commits[COMPACT].covers) if is_intact else frozenset()

    def _is_intact(self, key: str, has_file: HasFile) -> bool:
        commit = self.commits.get(key)
        if commit is None or commit.fingerprint != self.record.fingerprint:
            return False
        return all(map(has_file, commit.files))
