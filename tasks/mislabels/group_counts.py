"""Suspicious labels by group: sources, annotators or regions with more than their share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from tasks.mislabels.doubtful_rows import MIN_PROBABILITY

PREFIX = "group_"
"""Prefix of group columns in tables."""
MAX_VALUES = 50
"""Maximum number of values of a group column that is counted."""
SIGNIFICANCE = 0.01
"""Maximum p-value of a group with more suspicious labels than its share, over all its values."""
MIN_SUSPICIOUS = 10
"""Least number of rows that are regarded as the most suspicious, in a small table."""


@dataclass(frozen=True)
class GroupCount:
    """Suspicious labels of one value of a group column.

    Attributes:
        value: Value of the group column; None for rows without one.
        rows: Number of training rows with the value that are not reviewed.
        suspicious: Number of these rows among the most suspicious ones of the table.
        by_size: Number that is expected among them by the group's size alone.
        mean_probability: Mean probability of a wrong label; None if no row has one.
        p_value: Probability of as many suspicious rows or more by chance (hypergeometric).
    """

    value: str | None
    rows: int
    suspicious: int
    by_size: float
    mean_probability: float | None
    p_value: float


@dataclass(frozen=True)
class GroupCounts:
    """Suspicious labels by one group column.

    Attributes:
        name: Name of the column in the study's table.
        window: Number of most suspicious rows that are counted.
        values: Counts by value, the largest excess first; empty if there are too many values.
        distinct: Number of distinct values.
    """

    name: str
    window: int
    values: tuple[GroupCount, ...]
    distinct: int

    @property
    def excesses(self) -> tuple[GroupCount, ...]:
        """Values with significantly more than their share, by Bonferroni over all values."""
        limit = SIGNIFICANCE / max(1, len(self.values))
        return tuple(count for count in self.values if count.p_value < limit)


def add_group_columns(table: pl.DataFrame, groups: dict[str, list[str | None]]) -> pl.DataFrame:
    """Add the group columns of a training table to a mislabel table with the same rows.

    Args:
        table: Mislabel table, in the order of the training table.
        groups: Values of each group column, by its name.
    """
    columns = (pl.Series(f"{PREFIX}{name}", v, pl.String) for name, v in groups.items())
    return table.with_columns(*columns)


def list_group_columns(table: pl.DataFrame) -> list[str]:
    """Return the names of a table's group columns, with their prefix."""
    return [name for name in table.columns if name.startswith(PREFIX)]


def count_by_group(table: pl.DataFrame, budget: int) -> Iterator[GroupCounts]:
    """Count the most suspicious labels by every group column of a mislabel table.

    Reviewed rows are left out. Counted are the first `budget` rows of the ranking, at most a tenth
    of a table with more than 100 rows, and only rows with a probability of `MIN_PROBABILITY` or
    more: nothing if no label is suspicious.

    Args:
        table: Mislabel table with group columns, see `add_group_columns`.
        budget: Number of rows that people review.
    """
    ranked = table.filter(pl.col("reviewed").is_null()).sort("rank")
    suspicious = ranked.filter(pl.col("probability") >= MIN_PROBABILITY)
    window = min(budget, max(MIN_SUSPICIOUS, len(ranked) // 10), len(suspicious))
    first = ranked.with_columns(first=pl.int_range(pl.len()) < window)
    for column in list_group_columns(table) if window else ():
        yield _count_values(first, column, window)


def _count_values(ranked: pl.DataFrame, column: str, window: int) -> GroupCounts:
    name, distinct = column.removeprefix(PREFIX), ranked[column].n_unique()
    if distinct > MAX_VALUES:
        return GroupCounts(name, window, (), distinct)
    sums = ranked.group_by(column).agg(
        rows=pl.len(), suspicious=pl.col("first").sum(), mean=pl.col("probability").mean()
    )
    counts = [_make_count(row, len(ranked), window) for row in sums.iter_rows()]
    order = sorted(counts, key=lambda c: (c.p_value, -c.rows, c.value is None, c.value or ""))
    return GroupCounts(name, window, tuple(order), distinct)


def _make_count(row: Sequence, total: int, window: int) -> GroupCount:
    from scipy.stats import hypergeom  # slow, and not needed to read annotations

    value, rows, suspicious, mean = row
    chance = float(hypergeom.sf(suspicious - 1, total, rows, window))
    return GroupCount(value, rows, suspicious, window * rows / total, mean, chance)
