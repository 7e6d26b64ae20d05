"""Ranges of targets, by which a report groups rows whose targets are not one class each."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl

from tasks.study.target_kind import MULTI_LABEL, NUMBER, ONE_CLASS, SOFT_LABEL

GROUP_NAMES: Final = {
    NUMBER: "label range",
    MULTI_LABEL: "label set",
    SOFT_LABEL: "most probable label",
}
"""Column of the group of a row's target, by the kind of target."""
RANGES = 5
MAX_SETS = 12
"""Largest number of label sets that are groups of their own."""
OTHER_SETS = "other labels"
_FIRST_NAME = r"^(.*?) [0-9.e+-]+(?:, |$)"


def add_label_ranges(
    train: pl.DataFrame, queries: pl.DataFrame, kind: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add the range of each target to the tables of a run; those of classes are unchanged.

    Numbers are divided at quintiles of the training rows; soft labels are grouped by the most
    probable class, and several labels a row by the sets that most training rows have.

    Args:
        train: Table `train` of the run.
        queries: Table `queries` of the run.
        kind: Kind of the targets.
    """
    if kind in ONE_CLASS:
        return train, queries
    if kind == NUMBER:
        edges = np.unique(np.quantile(_read_numbers(train), np.linspace(0, 1, RANGES + 1)[1:-1]))
        return _name_ranges(train, edges), _name_ranges(queries, edges)
    column = pl.col("label")
    if kind == SOFT_LABEL:
        expression = column.str.extract(_FIRST_NAME)
    else:
        assert kind == MULTI_LABEL, kind
        counts = train["label"].value_counts().sort("count", "label", descending=[True, False])
        frequent = counts["label"].head(MAX_SETS)
        named = pl.when(column.is_in(frequent.implode())).then(column)
        expression = named.otherwise(pl.lit(OTHER_SETS))
    ranged = pl.when(column.is_not_null()).then(expression).alias(GROUP_NAMES[kind])
    return train.with_columns(ranged), queries.with_columns(ranged)


def find_label_group(columns: Sequence[str]) -> str:
    """Return the column by which targets are grouped: label, or the group of other targets.

    Args:
        columns: Columns of the table `train` or `queries` of a report.
    """
    return next((name for name in GROUP_NAMES.values() if name in columns), "label")


def _read_numbers(rows: pl.DataFrame) -> np.ndarray:
    """Return the first number of each target; NaN for a row without."""
    first = rows["label"].str.split(", ").list.first()
    return first.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _name_ranges(rows: pl.DataFrame, edges: np.ndarray) -> pl.DataFrame:
    values = _read_numbers(rows)
    words = [f"up to {edges[0]:.4g}"]
    words += [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)]
    words += [f"above {edges[-1]:.4g}"]
    places = np.searchsorted(edges, values, side="left")
    named = [
        None if np.isnan(value) else words[place]
        for value, place in zip(values.tolist(), places.tolist(), strict=True)
    ]
    return rows.with_columns(pl.Series(GROUP_NAMES[NUMBER], named, dtype=pl.String))
