"""Compaction: one Parquet file a table in place of the many small files of a finished run.

A run of thousands of shards has as many files of each table, and every query opens all of them. The
compact commit holds the same rows in the same order (for `totals`, sums over the shards) and lists
in `covers` the keys it replaces. It takes effect when its manifest is written; afterwards garbage
collection may remove the files of the shards (see `storage.garbage_collection`).
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
"""Maximum number of rows of all tables together that are compacted, since the files are encoded in
memory."""
AUTOMATIC_ROWS: Final = 5_000_000
"""Maximum number of rows that an audit compacts by itself at its end, in about a gigabyte."""


def compact(
    layout: Layout,
    record: RunRecord,
    keys: Sequence[str],
    tables: dict[str, pl.LazyFrame],
    max_rows: int = MAX_ROWS,
) -> Commit | None:
    """Commit the tables of a finished run as one file each.

    Args:
        layout: Paths of the store.
        record: Record of the finished run.
        keys: Keys of the shards that the compact commit replaces.
        tables: All rows of each table, in the order of the shards.
        max_rows: Number of rows up to which the tables are encoded in memory.

    Returns:
        The compact commit; None if the tables have more rows.

    Raises:
        StoreError: There are no shards, or the disk fails.
    """
    tables = {
        name: _sum_over_shards(frame) if name == TOTALS_TABLE else frame
        for name, frame in tables.items()
    }
    rows = sum(frame.select(pl.len()).collect().item() for frame in tables.values())
    if rows > max_rows:
        return None
    if not keys:
        raise StoreError(
            f"run {record.run}",
            expected="committed shards",
            got="none",
            remedy="Finish the run first.",
        )
    frames = {name: frame.collect() for name, frame in tables.items()}
    return write_commit(layout, record, COMPACT, frames, covers=tuple(keys))


def _sum_over_shards(totals: pl.LazyFrame) -> pl.LazyFrame:
    """Sum the totals of all shards for each training row and slice."""
    sums = (pl.col("queries").sum().cast(pl.UInt32), pl.col("removal_effect").sum())
    return totals.group_by("train", "correct", "group", maintain_order=True).agg(*sums)
