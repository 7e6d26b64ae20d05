"""Catalogue of a store: a cache of the JSON files of its finished runs, in one file.

After a year of nights a store has thousands of such files, and an audit needs the records of all
runs. One listing of the folder `runs` says which runs have changed since they were catalogued, by
the sizes and times of all their files; only those are read. The catalogue may be lost, outdated or
removed at any time: it is never the only place of anything.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Final

from storage.atomic import is_temp_path, write_bytes
from storage.commits import FINISH
from storage.errors import StoreError
from storage.listing import Entry, list_entries
from storage.object_store import translate_s3_errors
from storage.order import read_sequence
from storage.paths import Layout, is_valid_name
from storage.run_files import MANIFESTS, RECORD, RunFiles

NAME: Final = ".catalogue.json"
"""Name of the file in the folder `runs`; a run cannot have such a name."""
FINISH_MANIFEST: Final = f"{MANIFESTS}{FINISH}.json"
UNCATALOGUED: Final = 8
"""Number of finished runs without a place in the catalogue, from which on it is written again."""

SETTLED_SECONDS: Final = 2.0
"""Minimum age in seconds of the files of a catalogued run: one that is written again within a tick
of the clock could have the same version."""

Versions = Mapping[str, str]
"""Size and version of each file of a run, by its path in the run's folder."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All runs of a store at one time.

    Attributes:
        layout: Paths of the store.
        entries: Files of each run by their path in its folder; also of runs without a record.
        catalogued: Catalogued content by name of the run; it may be outdated.
    """

    layout: Layout
    entries: Mapping[str, Mapping[str, Entry]]
    catalogued: Mapping[str, CataloguedRun]

    @classmethod
    def read(cls, layout: Layout) -> Catalogue:
        """List the runs of a store, and read its catalogue.

        Raises:
            StoreError: The folder is not readable, or the bucket does not respond.
        """
        entries = list_entries(layout.runs)
        own = entries.get(NAME)
        catalogued = _read_file(layout.runs / NAME, _format_version(own)) if own else {}
        return cls(layout, _group_by_run(entries), catalogued)

    @property
    def names(self) -> list[str]:
        """Names of the runs that have a record, sorted."""
        return sorted(run for run, files in self.entries.items() if RECORD in files)

    @property
    def names_without_record(self) -> list[str]:
        """Names of runs with files but without a record, sorted."""
        return sorted(self.entries.keys() - set(self.names))

    def read_run(self, run: str) -> RunFiles:
        """Return the content of a run's files: catalogued, or read if a file has changed.

        Raises:
            StoreError: The run does not exist, or a file is damaged.
        """
        known = self._find_current(run)
        if known is not None:
            return known.files
        keys = [
            name.removeprefix(MANIFESTS).removesuffix(".json")
            for name in self.entries.get(run, {})
            if name.startswith(MANIFESTS) and name.endswith(".json")
        ]
        return RunFiles.read(self.layout, run, sorted(keys))

    def read_sequence(self, run: str) -> int:
        """Return the sequence number of a run.

        Raises:
            StoreError: The file `order.json` is damaged.
        """
        known = self._find_current(run)
        return read_sequence(self.layout, run) if known is None else known.files.sequence

    def update(self) -> bool:
        """Write the catalogue if many finished runs have no place in it; return whether it did.

        Raises:
            StoreError: The disk is full or not writable.
        """
        latest = time.time() - SETTLED_SECONDS
        settled = [run for run in self.names if self._is_settled(run, latest)]
        missing = [run for run in settled if self._find_current(run) is None]
        removed = self.catalogued.keys() - set(self.names)
        if len(missing) + len(removed) < UNCATALOGUED:
            return False
        runs = {run: self._encode(run) for run in settled}
        data = json.dumps(runs, separators=(",", ":")).encode()
        digest = hashlib.sha256(data).hexdigest().encode()
        write_bytes(self.layout.runs / NAME, digest + b"\n" + data)
        return True

    def _find_current(self, run: str) -> CataloguedRun | None:
        """Return the catalogued content of a run unless a file has changed since."""
        known = self.catalogued.get(run)
        return known if known and known.versions == self._list_versions(run) else None

    def _is_settled(self, run: str, latest: float) -> bool:
        """Whether a run is finished, and no file is younger than a time."""
        files = self.entries[run]
        return FINISH_MANIFEST in files and all(file.modified < latest for file in files.values())

    def _list_versions(self, run: str) -> dict[str, str]:
        files = self.entries.get(run, {})
        return {name: _format_version(entry) for name, entry in files.items()}

    def _encode(self, run: str) -> dict[str, object]:
        return self.read_run(run).to_json() | {"versions": self._list_versions(run)}


@dataclass(frozen=True, eq=False)
class CataloguedRun:
    """Content of a run's files when it was catalogued.

    Attributes:
        versions: Versions of the files.
        content: JSON of the content.
    """

    versions: Versions
    content: Mapping[str, Any]
    _parsed: list[RunFiles] = field(default_factory=list)

    @property
    def files(self) -> RunFiles:
        """Content of the files, parsed on first use."""
        if not self._parsed:
            self._parsed.append(RunFiles.from_json(self.content))
        return self._parsed[0]


@lru_cache(maxsize=4)
def _read_file(path: Path, version: str) -> Mapping[str, CataloguedRun]:
    """Read a catalogue; empty if it is damaged. `version` is part of the cache key."""
    try:
        with translate_s3_errors(path):
            digest, data = path.read_bytes().split(b"\n", 1)
        if hashlib.sha256(data).hexdigest().encode() != digest:
            return {}
        content = json.loads(data)
        return {run: CataloguedRun(value["versions"], value) for run, value in content.items()}
    except (OSError, StoreError, ValueError, KeyError, TypeError):
        return {}  # everything in it is read from the runs


def _group_by_run(entries: Mapping[str, Entry]) -> dict[str, dict[str, Entry]]:
    runs: dict[str, dict[str, Entry]] = {}
    for path, entry in _iterate_own_files(entries):
        run, _, name = path.partition("/")
        runs.setdefault(run, {})[name] = entry
    return runs


def _iterate_own_files(entries: Mapping[str, Entry]) -> Iterator[tuple[str, Entry]]:
    """Yield the files below the folders of runs, without temporary ones."""
    for path, entry in entries.items():
        run, _, name = path.partition("/")
        if name and is_valid_name(run) and not is_temp_path(Path(PurePosixPath(name).name)):
            yield path, entry


def _format_version(entry: Entry) -> str:
    return f"{entry.bytes} {entry.version}"
