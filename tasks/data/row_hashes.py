"""Hashes of rows by content, by which rows are matched across runs and scores are reused."""

import hashlib
import json
from collections.abc import Sequence

from storage import Store
from storage.example_schemas import fill_weight
from tasks.data.dataset import Table
from tasks.study.target_kind import ONE_CLASS

EXTRA_LEGACY_LABELS = 16
"""Number of further label positions to try, since earlier tables may have had more labels."""


def row_digests(table: Table, labels: Sequence[str]) -> list[bytes]:
    """Digest of text(s), label name and weight of each row.

    The name is hashed instead of the position, which changes with the list of labels.

    Args:
        table: Rows of the study.
        labels: Label names of the study.
    """
    weights = table.weights or [None] * len(table)
    rows = zip(content_digests(table), table.name_targets(labels), weights, strict=True)
    return [row_digest(*row) for row in rows]


def content_digests(table: Table) -> list[bytes]:
    """Digest of the text(s) of each row, without the label."""
    pairs = table.text_pairs or [None] * len(table)
    return [content_digest(*row) for row in zip(table.texts, pairs, strict=True)]


def read_row_digests(store: Store, run: str, table: str) -> list[bytes]:
    """Row digests of a table of a run, by position.

    Args:
        store: Store with the run.
        run: Name of the run.
        table: Name of the table, `queries` or `train`.
    """
    key = "query" if table == "queries" else "train"
    rows = fill_weight(store.scan(table, run)).sort(key)
    columns = rows.select("text", "text_pair", "label", "weight").collect()
    return [
        row_digest(content_digest(text, pair), label, weight)
        for text, pair, label, weight in columns.iter_rows()
    ]


def content_digest(text: str, pair: str | None) -> bytes:
    """SHA-256 of one or two texts, truncated to 16 bytes."""
    return _short_sha256(json.dumps([text, pair]).encode())


def row_digest(content: bytes, label: str | None, weight: float | None = None) -> bytes:
    """SHA-256 of content digest, label name and weight, truncated to 16 bytes.

    A row without a label has no name, and a row of equal weights no weight.
    """
    words = (label or "") + ("" if weight is None else f"\n{weight!r}")
    return _short_sha256(content + words.encode())


def map_legacy_digests(table: Table, labels: Sequence[str]) -> dict[tuple[bytes, str], bytes]:
    """Map row digests of earlier versions, with the label's name, to content digests.

    Earlier versions hashed the position of the label, which is unknown, so every possible position
    is mapped.

    Args:
        table: Rows of the study.
        labels: Label names of the study.
    """
    pairs = table.text_pairs or [None] * len(table)
    contents = {}
    for text, pair, label in zip(table.texts, pairs, table.labels, strict=True):
        content = content_digest(text, pair)
        for place in range(len(labels) + EXTRA_LEGACY_LABELS):
            contents[_legacy_digest(text, pair, place), labels[label]] = content
    return contents


def legacy_row_digests(table: Table) -> list[bytes]:
    """Row digests of earlier versions, which hash the position of the label."""
    pairs = table.text_pairs or [None] * len(table)
    labels = table.labels if table.kind in ONE_CLASS else [-1] * len(table)  # no earlier version
    return [_legacy_digest(*row) for row in zip(table.texts, pairs, labels, strict=True)]


def _legacy_digest(text: str, pair: str | None, place: int) -> bytes:
    return _short_sha256(json.dumps([text, pair, place]).encode())


def _short_sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:16]
