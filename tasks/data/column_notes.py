"""Notes on columns that may be unintended: copies of the label, ids, groups of few rows."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from tasks.data.vector_column import VectorColumn

MANY_GROUPS = 50
"""Number of values above which a group column is noted."""
MIN_ROWS = 20
"""Number of rows below which shares of distinct values say nothing."""
HEAD_ROWS = 1000
"""Number of first rows that show for most columns that they have more values than labels."""


def describe_giveaway(name: str, values: pl.Series, labels: pl.Series) -> Iterator[str]:
    """Yield a note if a column equals the label, or corresponds to it one to one, in all rows.

    Args:
        name: Name of the column.
        values: Values of the column.
        labels: Labels of the rows.
    """
    if isinstance(values.dtype, pl.List | pl.Array | pl.Struct):
        return
    if values.head(HEAD_ROWS).n_unique() > labels.n_unique():
        return
    if len(labels) > 1 and (values.cast(pl.String) == labels).fill_null(False).all():
        yield f"{name} equals the label in all rows: it gives the label away"
        return
    if len(labels) < MIN_ROWS:
        return
    pairs = pl.DataFrame({"value": values, "label": labels})
    counts = [pairs.n_unique(), pairs["value"].n_unique(), pairs["label"].n_unique()]
    if counts[0] == counts[1] == counts[2] > 1:
        yield f"{name} corresponds to the label in all rows: it gives the label away"


def describe_unique(
    name: str, column: np.ndarray | Sequence[str | None] | VectorColumn
) -> Iterator[str]:
    """Yield a note on features that differ in every row, as ids and row numbers do."""
    if isinstance(column, VectorColumn) or len(column) < MIN_ROWS:
        return
    if not isinstance(column, np.ndarray):
        if len(set(column)) == len(column):
            yield f"{name} is a category of its own in every row, as an id is: remove it"
        return
    if column.shape[1] == 1 and (np.diff(column[:, 0]) == 1).all():
        yield f"{name} counts the rows, as an id does: remove it"


def describe_groups(name: str, values: Sequence[str | None]) -> Iterator[str]:
    """Yield a note on a group column with many values, such as a date or an id."""
    count = len({value for value in values if value is not None})
    if count > MANY_GROUPS or (len(values) >= MIN_ROWS and 2 * count > len(values)):
        rows = len(values) / count
        yield (
            f"group {name} has {count:,} values, {rows:.1f} rows each: results by group say "
            "little; use a coarser column, such as the month of a date"
        )
