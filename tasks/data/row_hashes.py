"""Rows by their content: what of a row an answer depends on beside the model."""

import hashlib
import json
from collections.abc import Sequence

from storage import Store
from tasks.data.dataset import Table

EXTRA_LEGACY_LABELS = 16
"""Positions beyond the labels there are that a label may have had when there were more."""


def row_digests(table: Table, labels: Sequence[str]) -> list[bytes]:
    """Digest of each row's text or texts, and the name of its label.

    The name and not its position, which another list of labels would move.

    Args:
        table: rows; their labels are positions in `labels`.
        labels: the study's label names.
    """
    names = (labels[label] for label in table.labels)
    return [row_digest(*row) for row in zip(content_digests(table), names, strict=True)]


def content_digests(table: Table) -> list[bytes]:
    """Digest of each row's text or texts alone."""
    pairs = table.text_pairs or [None] * len(table)
    return [content_digest(*row) for row in zip(table.texts, pairs, strict=True)]


def read_row_digests(store: Store, run: str, table: str) -> list[bytes]:
    """Row digests of a run's table `queries` or `train`, in the order of its positions.

    Args:
        store: has the run.
        run: its name.
        table: which.
    """
    key = "query" if table == "queries" else "train"
    rows = store.scan(table, run).sort(key).select("text", "text_pair", "label").collect()
    return [row_digest(content_digest(a, b), label) for a, b, label in rows.iter_rows()]


def content_digest(text: str, pair: str | None) -> bytes:
    """SHA-256 of one or two texts, cut to 16 bytes."""
    return _short_sha256(json.dumps([text, pair]).encode())


def row_digest(content: bytes, label: str) -> bytes:
    """SHA-256 of the digest of the texts and the name of the label, cut to 16 bytes."""
    return _short_sha256(content + label.encode())


def map_legacy_digests(table: Table, labels: Sequence[str]) -> dict[tuple[bytes, str], bytes]:
    """Content digests by the row digests of before and the label's name.

    Those of before had the position of the label for its name; it is not known, so of all that the
    label may have had.

    Args:
        table: rows; their labels are positions in `labels`.
        labels: the study's label names.
    """
    pairs = table.text_pairs or [None] * len(table)
    contents = {}
    for text, pair, label in zip(table.texts, pairs, table.labels, strict=True):
        content = content_digest(text, pair)
        for place in range(len(labels) + EXTRA_LEGACY_LABELS):
            contents[_legacy_digest(text, pair, place), labels[label]] = content
    return contents


def legacy_row_digests(table: Table) -> list[bytes]:
    """Row digests of before: with the position of the label for its name."""
    pairs = table.text_pairs or [None] * len(table)
    return [_legacy_digest(*row) for row in zip(table.texts, pairs, table.labels, strict=True)]


def _legacy_digest(text: str, pair: str | None, place: int) -> bytes:
    return _short_sha256(json.dumps([text, pair, place]).encode())


def _short_sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:16]
