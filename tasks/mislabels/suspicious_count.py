"""Number of suspicious labels, of the newest detection among exactly the rows of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from storage import Store, polars_schema
from storage.mislabel_schemas import MISLABELS
from tasks.mislabels.informed_ranking import select_informed
from tasks.mislabels.results import FACTS, KIND
from tasks.run.sequence import read_numbered_records

ROW_COLUMNS = ("id", "text", "label")
COUNT_COLUMNS = ("label", "cluster", "probability", "reviewed")
MIN_SCORE = 0.5


def count_suspicious(table: pl.DataFrame, facts: dict[str, Any]) -> int:
    """Count the rows without annotation that the score calls more likely wrong than right.

    Without an annotated random sample the score is no calibrated probability, so the count is for
    comparing runs, and no estimate of the number of wrong labels.

    Args:
        table: Mislabel table.
        facts: Summary of its detection.
    """
    unreviewed = select_informed(table.filter(pl.col("reviewed").is_null()), facts)
    return int((unreviewed["probability"] >= MIN_SCORE).sum())


@dataclass
class SuspiciousCounts:
    """Counts of the detections of a store; each is read only for runs with as many rows.

    Attributes:
        store: Store of the study.
        detections: Folders and facts of the detections, newest first.
    """

    store: Store
    detections: list[tuple[Path, dict[str, Any]]]
    _by_digest: dict[object, int | None] = field(default_factory=dict)

    @classmethod
    def open(cls, store: Store) -> "SuspiciousCounts":
        """List the detections of a store.

        Raises:
            StoreError: One of them is damaged.
        """
        return cls(store, read_numbered_records(store, KIND, FACTS)[::-1])

    def count(self, run: str, train_rows: int, parts: Mapping[str, object]) -> int | None:
        """Count the suspicious labels of a run's rows; None without a detection among them.

        Args:
            run: Name of the run.
            train_rows: Number of its training rows.
            parts: Parts of its record; runs with one digest of the training table share the count.
        """
        if not any(facts.get("rows") == train_rows for _, facts in self.detections):
            return None
        digest = parts.get("train", run)
        if digest not in self._by_digest:
            self._by_digest[digest] = self._count(run, train_rows)
        return self._by_digest[digest]

    def _count(self, run: str, train_rows: int) -> int | None:
        rows = self.store.scan("train", run).select(ROW_COLUMNS).collect()
        for folder, facts in self.detections:
            path = folder / f"{KIND}.parquet"
            if facts.get("rows") != train_rows:
                continue
            if pl.read_parquet(path, columns=list(ROW_COLUMNS)).equals(rows):
                return count_suspicious(_read_columns(path), facts)
        return None


def _read_columns(path: Path) -> pl.DataFrame:
    """Read the columns that are counted; those that an earlier version did not have are null."""
    present = pl.read_parquet_schema(path)
    table = pl.read_parquet(path, columns=[name for name in COUNT_COLUMNS if name in present])
    kinds = polars_schema(MISLABELS)
    missing = [name for name in COUNT_COLUMNS if name not in present]
    return table.with_columns(pl.lit(None, kinds[name]).alias(name) for name in missing)
