"""Detections of a store by the training rows of its runs, without reading their whole tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from storage import Store
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.label_statement import LabelStatement, make_label_statement
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.results import FACTS, KIND
from tasks.run.sequence import read_numbered_records

ROW_COLUMNS = ("id", "text", "label")


@dataclass
class StoredDetections:
    """Detections of a store; the rows of each are read only for runs with as many rows.

    Attributes:
        store: Store of the study.
        detections: Folders and facts of the detections, newest first.
        annotations: Annotations of the store.
    """

    store: Store
    detections: list[tuple[Path, dict[str, Any]]]
    annotations: Annotations
    _by_digest: dict[object, dict[str, Any] | None] = field(default_factory=dict)

    @classmethod
    def open(cls, store: Store) -> "StoredDetections":
        """List the detections of a store.

        Raises:
            StoreError: A detection, or imported annotations, are damaged.
        """
        records = read_numbered_records(store, KIND, FACTS)[::-1]
        return cls(store, records, read_annotations(store))

    def state(self, run: str, train_rows: int, parts: Mapping[str, object]) -> LabelStatement:
        """State what is known of the number of wrong labels among a run's training rows.

        Args:
            run: Name of the run.
            train_rows: Number of its training rows.
            parts: Parts of its record.
        """
        return make_label_statement(self.find_facts(run, train_rows, parts), self.annotations)

    def find_facts(
        self, run: str, train_rows: int, parts: Mapping[str, object]
    ) -> dict[str, Any] | None:
        """Find the summary of the newest detection among a run's training rows; None without one.

        Args:
            run: Name of the run.
            train_rows: Number of its training rows.
            parts: Parts of its record; runs with one digest of the training table share the result.
        """
        if not any(facts.get("rows") == train_rows for _, facts in self.detections):
            return None
        digest = parts.get("train", run)
        if digest not in self._by_digest:
            self._by_digest[digest] = self._find(run, train_rows)
        return self._by_digest[digest]

    def _find(self, run: str, train_rows: int) -> dict[str, Any] | None:
        rows = self.store.scan("train", run).select(ROW_COLUMNS).collect()
        for folder, facts in self.detections:
            path = folder / f"{KIND}.parquet"
            if facts.get("rows") != train_rows:
                continue
            if pl.read_parquet(path, columns=list(ROW_COLUMNS)).equals(rows):
                return facts
        return None
