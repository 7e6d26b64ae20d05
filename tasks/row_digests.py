"""Rows by their content: what of a row an answer depends on beside the model."""

import hashlib
import json
from collections.abc import Sequence

from storage import Store
from tasks.tables import Table


def row_digests(table: Table) -> list[bytes]:
    """Of each row's text or texts, and its label."""
    pairs = table.text_pairs or [None] * len(table)
    return [_digest(row) for row in zip(table.texts, pairs, table.labels, strict=True)]


def stored_row_digests(store: Store, run: str, table: str, labels: Sequence[str]) -> list[bytes]:
    """The same of a run's table `queries` or `train`, in the order of its positions.

    Args:
        store: has the run.
        run: its name.
        table: which.
        labels: the study's label names.
    """
    key = "query" if table == "queries" else "train"
    place = {label: position for position, label in enumerate(labels)}
    rows = store.scan(table, run).sort(key).select("text", "text_pair", "label").collect()
    return [_digest((text, pair, place[label])) for text, pair, label in rows.iter_rows()]


def _digest(row: tuple[str, str | None, int]) -> bytes:
    return hashlib.sha256(json.dumps(row).encode()).digest()[:16]
