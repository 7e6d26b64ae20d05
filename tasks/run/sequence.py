"""Order of artifacts by a sequence number stored in them, independent of clocks."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from storage import Store


def read_numbered_records(store: Store, kind: str, file: str) -> list[tuple[Path, dict[str, Any]]]:
    """Return the artifacts of a kind with their records, in the order of writing.

    Artifacts of versions without numbers come first, ordered by time.

    Args:
        store: Store of the study.
        kind: Kind of the artifacts.
        file: Name of the JSON file in each, with the keys `number` and `when`.

    Raises:
        StoreError: An artifact is damaged.
    """
    folders = store.find_verified_artifacts(kind).values()
    records = [(folder, json.loads((folder / file).read_text())) for folder in folders]
    return sorted(records, key=lambda entry: sort_key(entry[1]))


def find_next_number(records: Iterable[Mapping[str, Any]]) -> int:
    """Return the largest sequence number plus one."""
    return 1 + max((int(record.get("number", 0)) for record in records), default=0)


def sort_key(record: Mapping[str, Any]) -> tuple[int, str]:
    """Return the sequence number and time of a record; number 0 for versions without numbers."""
    return int(record.get("number", 0)), str(record.get("when", record.get("created", "")))
