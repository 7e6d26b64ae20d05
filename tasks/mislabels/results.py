"""Stored mislabel detections, and the selection of the latest or the current one."""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from storage import Store, StoreError, polars_schema
from storage.mislabel_schemas import MISLABELS
from tasks.data.inputs import Inputs
from tasks.mislabels.annotations import make_no_mislabels_error
from tasks.mislabels.group_counts import add_group_columns
from tasks.run.sequence import find_next_number, read_numbered_records, sort_key

KIND, FACTS = "mislabels", "facts.json"
REQUESTS, RECORD = "searches", "search.json"
"""Artifacts that record a repeated request of a stored detection."""


@dataclass(frozen=True)
class MislabelResult:
    """Stored mislabel detection.

    Attributes:
        table: One row a training row, in the order of the training table; see
            `storage.mislabel_schemas.MISLABELS`.
        facts: Summary of the detection.
    """

    table: pl.DataFrame
    facts: dict[str, Any]


def read_result(store: Store, digest: str) -> MislabelResult:
    """Read a stored detection."""
    folder = store.find_artifact(KIND, digest)
    assert folder is not None, "the detection is stored before it is read"
    table = pl.read_parquet(folder / f"{KIND}.parquet")
    missing_columns = {
        name: kind for name, kind in polars_schema(MISLABELS).items() if name not in table
    }
    # Columns of later versions.
    table = table.with_columns(
        pl.lit(None, kind).alias(name) for name, kind in missing_columns.items()
    )
    return MislabelResult(table, json.loads((folder / FACTS).read_text()))


def read_matching_results(store: Store, train: pl.DataFrame) -> tuple[MislabelResult, ...]:
    """Read the detections among exactly the rows and labels of a run, newest first.

    Args:
        store: Store of the study.
        train: Table `train` of the run.

    Raises:
        StoreError: One of them is damaged; skipping it would look as if there was no search.
    """
    columns = ("id", "text", "label")
    results = (read_result(store, digest) for digest in store.find_verified_artifacts(KIND))
    matching = [
        result
        for result in results
        if len(result.table) == len(train)
        and result.table.select(columns).equals(train.select(columns))
    ]
    return tuple(sorted(matching, key=lambda result: sort_key(result.facts), reverse=True))


def read_latest_result(store: Store) -> MislabelResult:
    """Read the detection that was requested last, of any rows, by number and not by clock.

    Raises:
        StoreError: The store has no detection.
    """
    results = _list_results(store)
    if not results:
        raise make_no_mislabels_error(store)
    return read_result(store, results[-1][0])


def read_current_result(store: Store, inputs: Inputs) -> MislabelResult:
    """Read the latest detection of the current training rows.

    Raises:
        StoreError: The store has no detection of these rows.
    """
    result = _find_current(store, inputs)
    if result is None:
        read_latest_result(store)  # raises if there is none at all
        raise StoreError(
            inputs.train.place,
            expected="a mislabel detection of these rows",
            got="detections of other rows: the table, its labels or its ids have changed since",
            remedy="Run `fastif mislabels` first.",
        )
    return result


def read_current_or_latest(store: Store, inputs: Inputs) -> MislabelResult:
    """Read the latest detection of the current training rows, else the latest of any rows."""
    result = _find_current(store, inputs)
    return read_latest_result(store) if result is None else result


def _find_current(store: Store, inputs: Inputs) -> MislabelResult | None:
    table, labels = inputs.train, inputs.study.labels
    rows = {
        "id": table.ids,
        "text": table.texts,
        "text_pair": table.text_pairs or [None] * len(table),
        "label": [labels[i] for i in table.labels],
    }
    expected = pl.DataFrame(rows, schema=dict.fromkeys(rows, pl.String))
    for digest, facts in reversed(_list_results(store)):
        if facts["rows"] == len(table):
            result = read_result(store, digest)
            if result.table.select(list(rows)).equals(expected):
                return with_groups(result, inputs)
    return None


def with_groups(result: MislabelResult, inputs: Inputs) -> MislabelResult:
    """Return a detection of the current training rows with their group columns."""
    return replace(result, table=add_group_columns(result.table, inputs.train.groups))


def next_result_number(store: Store) -> int:
    """Return the number of the next detection."""
    artifacts = [
        *read_numbered_records(store, KIND, FACTS),
        *read_numbered_records(store, REQUESTS, RECORD),
    ]
    return find_next_number(record for _, record in artifacts)


def record_request(store: Store, digest: str) -> None:
    """Record a repeated request of a stored detection, which becomes the latest."""
    if _list_results(store)[-1][0] == digest:
        return
    number = next_result_number(store)
    record = {"number": number, "when": datetime.now(UTC).isoformat(), "search": digest}

    def write(folder: Path) -> None:
        (folder / RECORD).write_text(json.dumps(record) + "\n")

    store.write_artifact(REQUESTS, hashlib.sha256(f"{number} {digest}".encode()).hexdigest(), write)


def _list_results(store: Store) -> list[tuple[str, dict[str, Any]]]:
    """Digests and facts of all detections, the last requested one at the end."""
    results = [(folder.name, facts) for folder, facts in read_numbered_records(store, KIND, FACTS)]
    request_numbers = {
        record["search"]: record["number"]
        for _, record in read_numbered_records(store, REQUESTS, RECORD)
    }
    positions = {digest: position for position, (digest, _) in enumerate(results)}
    return sorted(
        results,
        key=lambda result: (
            max(result[1].get("number", 0), request_numbers.get(result[0], 0)),
            positions[result[0]],
        ),
    )
