"""Where everything lies: the only file that knows a path of the store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from storage.errors import StoreError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_valid_name(name: str) -> bool:
    """Whether a run can be called so; what a file manager leaves (.DS_Store, a copy) is none."""
    return _NAME.fullmatch(name) is not None


def check_name(kind: str, name: str) -> str:
    """Return `name` if it can be a folder on any disk and a hive value, else raise StoreError."""
    if not is_valid_name(name):
        raise StoreError(
            f"name of the {kind}",
            expected="up to 128 letters, digits, '.', '_' or '-', the first a letter or digit",
            got=repr(name),
            remedy="Choose another name.",
        )
    return name


@dataclass(frozen=True)
class Layout:
    """Paths below `root`.

    store.json                                    whose store this is
    runs/<run>/run.json                           what the run computes (RunRecord)
    runs/<run>/order.json                         its place among the runs
    runs/<run>/manifest/<key>.json                the commit of a shard
    tables/<table>/run=<run>/shard=<n>/<x>.parquet
    parts/<kind>/<digest>/part.json, ...          shared pieces, named by content
    """

    root: Path

    @property
    def store(self) -> Path:
        """The file that makes a folder a store."""
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
        """Folder of all parts."""
        return self.root / "parts"

    def record(self, run: str) -> Path:
        """The opened run."""
        return self.runs / check_name("run", run) / "run.json"

    def order(self, run: str) -> Path:
        """The place of a run among the others."""
        return self.record(run).parent / "order.json"

    def manifest(self, run: str, key: str) -> Path:
        """The commit of one key of a run."""
        return self.record(run).parent / "manifest" / f"{check_name('key', key)}.json"

    def table(self, table: str, run: str) -> Path:
        """All files of a table in a run."""
        return self.tables / table / f"run={check_name('run', run)}"

    def file(self, table: str, run: str, key: str, digest: str) -> Path:
        """One committed file; what belongs to no shard (train, runs) lies under shard 0."""
        shard = key if key.isdecimal() else "00000"
        return self.table(table, run) / f"shard={shard}" / f"{digest[:32]}.parquet"

    def artifact(self, kind: str, digest: str) -> Path:
        """Folder of one part."""
        return self.artifacts(kind) / check_name("digest", digest)

    def artifacts(self, kind: str) -> Path:
        """Folder of all parts of a kind."""
        return self.all_artifacts / check_name("part", kind)
