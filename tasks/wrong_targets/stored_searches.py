"""Stored searches for wrong targets, and the one of the current training rows."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from storage import Store, StoreError
from tasks.data.target_text import format_target
from tasks.run.sequence import find_next_number, read_numbered_records
from tasks.study.target_kind import NUMBER

KIND, FACTS = "wrong-targets", "facts.json"
ROW_COLUMNS = ("id", "name", "given")


@dataclass(frozen=True)
class TargetSearch:
    """Stored search.

    Attributes:
        table: One row a training row and label; see `storage.target_schemas.WRONG_TARGETS`.
        facts: Summary of the search.
    """

    table: pl.DataFrame
    facts: dict[str, Any]


def read_search(store: Store, digest: str) -> TargetSearch:
    """Read a stored search."""
    folder = store.find_artifact(KIND, digest)
    assert folder is not None, "the search is stored before it is read"
    facts = json.loads((folder / FACTS).read_text())
    return TargetSearch(pl.read_parquet(folder / "wrong_targets.parquet"), facts)


def read_current_search(store: Store, cells: pl.DataFrame) -> TargetSearch:
    """Read the newest search of the current training rows and targets.

    Args:
        store: Store of the study.
        cells: Cells of the training rows.

    Raises:
        StoreError: The store has no search of these rows.
    """
    expected = cells.select(ROW_COLUMNS)
    for folder, _ in reversed(read_numbered_records(store, KIND, FACTS)):
        search = read_search(store, folder.name)
        if search.table.select(ROW_COLUMNS).equals(expected):
            return search
    raise StoreError(
        store.layout.root,
        expected="a search for wrong targets of the current training rows",
        got="none: the table, its targets or its ids have changed since, or there was no search",
        remedy="Run `fastif mislabels` first.",
    )


def find_matching_search(
    store: Store, ids: Sequence[str], contents: Sequence[bytes], targets: Sequence[str], kind: str
) -> TargetSearch | None:
    """Return the newest search among rows of the same ids, contents and targets; None without one.

    Args:
        store: Store of the study.
        ids: Ids of the rows.
        contents: Digests of the contents of the rows.
        targets: Targets of the rows as text, as a run stores them.
        kind: Kind of the targets.
    """
    digest = digest_contents(contents)
    for folder, record in reversed(read_numbered_records(store, KIND, FACTS)):
        if record.get("contents") != digest or record["target"] != kind:
            continue
        search, names = read_search(store, folder.name), record["names"]
        cells = search.table.sort("train", "output")
        rows = [tuple(row) for row in cells["given"].to_numpy().reshape(-1, len(names)).tolist()]
        texts = [
            format_target(row[0] if kind == NUMBER and len(row) == 1 else row, kind, names)
            for row in rows
        ]
        if texts == [*targets] and cells["id"].to_list()[:: len(names)] == [*ids]:
            return search
    return None


def digest_contents(contents: Sequence[bytes]) -> str:
    """Return the digest of the contents of all rows, in their order."""
    return hashlib.sha256(b"".join(contents)).hexdigest()


def next_search_number(store: Store) -> int:
    """Return the number of the next search."""
    return find_next_number(record for _, record in read_numbered_records(store, KIND, FACTS))
