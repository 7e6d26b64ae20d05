"""Many small files of a finished run, as one file a table.

A run of thousands of shards has as many files of each table, and every question opens all of them.
The compact commit holds the same rows in the same order (of sums over queries: their sums) and
names the keys that it stands for. Until its manifest is in place nothing has changed; from then on
it is what is read, and the shards' own files may go (see `storage.garbage_collection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from storage.commits import Commit, write_commit
from storage.errors import StoreError
from storage.paths import Layout
from storage.run_record import RunRecord

COMPACT: Final = "compact"
TOTALS_TABLE: Final = "totals"
MAX_ROWS: Final = 20_000_000
"""Of all tables together: a file is made in memory."""


def compact(
    layout: Layout, record: RunRecord, keys: Sequence[str], tables: dict[str, pl.LazyFrame]
) -> Commit | None:
    """Commit these tables in place of the shards' own; None if they have too many rows for that.

    Args:
        layout: of the store.
        record: of a run that is finished.
        keys: of the shards that the tables are made of.
        tables: all rows of each, in the order of the shards.

    Raises:
        StoreError: there is nothing to make one of, or the disk fails.
    """
    tables = {
        name: _sum_over_shards(frame) if name == TOTALS_TABLE else frame
        for name, frame in tables.items()
    }
    rows = sum(frame.select(pl.len()).collect().item() for frame in tables.values())
    if rows > MAX_ROWS:
        return None
    if not keys:
        raise StoreError(
            f"run {record.run}", expected="committed shards", got="none", remedy="Finish it first."
        )
    frames = {name: frame.collect() for name, frame in tables.items()}
    return write_commit(layout, record, COMPACT, frames, covers=tuple(keys))


def _sum_over_shards(totals: pl.LazyFrame) -> pl.LazyFrame:
    """The sums of all shards for each training row and slice."""
    sums = (pl.col("queries").sum().cast(pl.UInt32), pl.col("removal_effect").sum())
    return totals.group_by("train", "correct", "group", maintain_order=True).agg(*sums)
