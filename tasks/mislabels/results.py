"""What searches for wrong labels wrote, and which of them is meant."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from storage import MISLABELS, Store, StoreError, polars_schema
from tasks.mislabels.annotations import no_mislabels
from tasks.run.sequence import next_number, numbered
from tasks.run.spec import Inputs

KIND, FACTS = "mislabels", "facts.json"
ASKED, RECORD = "searches", "search.json"
"""Parts that say which search was asked for again, after others."""


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        table: a row a training example, in the order of the table; see `storage.MISLABELS`.
        facts: of the search, as written beside it.
    """

    table: pl.DataFrame
    facts: dict[str, Any]


def read_found(store: Store, digest: str) -> Found:
    """What a search wrote."""
    folder = store.part(KIND, digest)
    assert folder is not None, "it is searched before it is read"
    table = pl.read_parquet(folder / f"{KIND}.parquet")
    later = {name: kind for name, kind in polars_schema(MISLABELS).items() if name not in table}
    # Columns that came after it was written.
    table = table.with_columns(pl.lit(None, kind).alias(name) for name, kind in later.items())
    return Found(table, json.loads((folder / FACTS).read_text()))


def newest_found(store: Store) -> Found:
    """What the search that was asked for last wrote, of whatever rows.

    By a number of its own, and not by a clock.

    Raises:
        StoreError: there was none.
    """
    searches = _in_order(store)
    if not searches:
        raise no_mislabels(store)
    return read_found(store, searches[-1][0])


def current_found(store: Store, inputs: Inputs) -> Found:
    """What the newest search among the training rows as they are wrote.

    Raises:
        StoreError: there was none, or none of these rows.
    """
    match = _found_of(store, inputs)
    if match is None:
        newest_found(store)  # refuses where there was none at all
        raise StoreError.at(
            inputs.train.place,
            expected="a search for wrong labels among these rows",
            got="searches among other rows: the table, its labels or its ids have changed since",
            remedy="Run `fastif mislabels` first.",
        )
    return match


def current_or_newest(store: Store, inputs: Inputs) -> Found:
    """The same, or what the newest search wrote where there was none among these rows."""
    match = _found_of(store, inputs)
    return newest_found(store) if match is None else match


def _found_of(store: Store, inputs: Inputs) -> Found | None:
    table, labels = inputs.train, inputs.study.labels
    rows = {
        "id": table.ids,
        "text": table.texts,
        "text_pair": table.text_pairs or [None] * len(table),
        "label": [labels[i] for i in table.labels],
    }
    wanted = pl.DataFrame(rows, schema=dict.fromkeys(rows, pl.String))
    for digest, facts in reversed(_in_order(store)):
        if facts["rows"] == len(table):
            found = read_found(store, digest)
            if found.table.select(list(rows)).equals(wanted):
                return found
    return None


def next_search(store: Store) -> int:
    """Number of a search that is written now."""
    parts = [*numbered(store, KIND, FACTS), *numbered(store, ASKED, RECORD)]
    return next_number(record for _, record in parts)


def note_asked(store: Store, digest: str) -> None:
    """Record that a search that is there already was asked for again, after others."""
    if _in_order(store)[-1][0] == digest:
        return
    number = next_search(store)
    record = {"number": number, "when": datetime.now(UTC).isoformat(), "search": digest}

    def write(folder: Path) -> None:
        (folder / RECORD).write_text(json.dumps(record) + "\n")

    store.write_part(ASKED, hashlib.sha256(f"{number} {digest}".encode()).hexdigest(), write)


def _in_order(store: Store) -> list[tuple[str, dict[str, Any]]]:
    """Digests and facts of all searches, that which was asked for last at the end."""
    searches = [(folder.name, facts) for folder, facts in numbered(store, KIND, FACTS)]
    numbers = {record["search"]: record["number"] for _, record in numbered(store, ASKED, RECORD)}
    order = {digest: place for place, (digest, _) in enumerate(searches)}
    return sorted(
        searches,
        key=lambda part: (
            max(part[1].get("number", 0), numbers.get(part[0], 0)),
            order[part[0]],
        ),
    )
