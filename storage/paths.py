"""Paths of a store; no other module builds them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from storage.errors import StoreError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_valid_name(name: str) -> bool:
    """Return whether a run can have this name, unlike a file manager's files (.DS_Store)."""
    return _NAME.fullmatch(name) is not None


def check_name(kind: str, name: str) -> str:
    """Return `name` if it is valid as a folder name on any disk and as a Hive partition value.

    Raises:
        StoreError: The name is not valid.
    """
    if not is_valid_name(name):
        raise StoreError(
            f"name of the {kind}",
            expected="up to 128 of A-Z, a-z, 0-9, '.', '_' and '-', of which the first is A-Z, a-z "
            "or 0-9",
            got=repr(name),
            remedy="Choose another name.",
        )
    return name


@dataclass(frozen=True)
class Layout:
    """Paths of a store below its root folder or S3 prefix.

        store.json                                    study and format of the store
        runs/<run>/run.json                           RunRecord: what the run computes
        runs/<run>/order.json                         sequence number of the run
        runs/<run>/manifest/<key>.json                commit of a shard
        tables/<table>/run=<run>/shard=<n>/<x>.parquet
        parts/<kind>/<digest>/part.json, ...          artifact, named by its cache key

    Attributes:
        root: Root of the store.
    """

    root: Path

    @property
    def store(self) -> Path:
        """Path of `store.json`, the file that makes a folder a store."""
        return self.root / "store.json"

    @property
    def runs(self) -> Path:
        """Folder of all runs."""
        return self.root / "runs"

    @property
    def tables(self) -> Path:
        """Folder of all tables."""
        return self.root / "tables"

    @property
    def all_artifacts(self) -> Path:
        """Folder of all artifacts."""
        return self.root / "parts"

    def record(self, run: str) -> Path:
        """Return the path of a run's record, `run.json`."""
        return self.runs / check_name("run", run) / "run.json"

    def order(self, run: str) -> Path:
        """Return the path of a run's sequence number, `order.json`."""
        return self.record(run).parent / "order.json"

    def manifest(self, run: str, key: str) -> Path:
        """Return the path of the manifest of one key of a run."""
        return self.record(run).parent / "manifest" / f"{check_name('key', key)}.json"

    def table(self, table: str, run: str) -> Path:
        """Return the folder with the files of a table of a run."""
        return self.tables / table / f"run={check_name('run', run)}"

    def file(self, table: str, run: str, key: str, digest: str) -> Path:
        """Return the path of a committed file; files of no shard (train, runs) go to shard 0."""
        shard = key if key.isdecimal() else "00000"
        return self.table(table, run) / f"shard={shard}" / f"{digest[:32]}.parquet"

    def artifact(self, kind: str, digest: str) -> Path:
        """Return the folder of an artifact."""
        return self.artifacts(kind) / check_name("digest", digest)

    def artifacts(self, kind: str) -> Path:
        """Return the folder of all artifacts of a kind."""
        return self.all_artifacts / check_name("artifact kind", kind)
