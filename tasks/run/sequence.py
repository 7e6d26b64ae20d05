"""Order of parts by when they were written, by a number of their own and not by a clock."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from storage import Store


def read_numbered_records(store: Store, kind: str, file: str) -> list[tuple[Path, dict[str, Any]]]:
    """Folders of a kind's parts with the record of each, the first written first.

    Parts of before there were numbers come first, by their time.

    Args:
        store: has the parts.
        kind: theirs.
        file: JSON file in each, with `number` and `when`.
    """
    folders = store.find_verified_artifacts(kind).values()
    records = [(folder, json.loads((folder / file).read_text())) for folder in folders]
    return sorted(records, key=lambda entry: sort_key(entry[1]))


def find_next_number(records: Iterable[Mapping[str, Any]]) -> int:
    """One more than the largest."""
    return 1 + max((int(record.get("number", 0)) for record in records), default=0)


def sort_key(record: Mapping[str, Any]) -> tuple[int, str]:
    """By number; of before there were numbers, by time."""
    return int(record.get("number", 0)), str(record.get("when", record.get("created", "")))
