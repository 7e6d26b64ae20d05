"""Ranges of targets, by which a report groups rows whose targets are not one class each."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl

from fastif.tokens import Scheme
from tasks.results.span_text import list_types, name_spans
from tasks.study.target_kind import MULTI_LABEL, NUMBER, ONE_CLASS, SOFT_LABEL, TAGS

GROUP_NAMES: Final = {
    NUMBER: "label range",
    MULTI_LABEL: "label set",
    SOFT_LABEL: "most probable label",
    TAGS: "types of spans",
}
"""Column of the group of a row's target, by the kind of target."""
RANGES = 5
MAX_SETS = 12
"""Largest number of label sets that are groups of their own."""
OTHER_SETS = "other labels"
_FIRST_NAME = r"^(.*?) [0-9.e+-]+(?:, |$)"


def add_label_ranges(
    train: pl.DataFrame, queries: pl.DataFrame, kind: str, scheme: Scheme | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add the range of each target to the tables of a run; those of classes are unchanged.

    Numbers are divided at quintiles of the training rows; soft labels are grouped by the most
    probable class, and several labels a row by the sets that most training rows have; so are tags
    of words, by the types of their spans, which replace the tags.

    Args:
        train: Table `train` of the run.
        queries: Table `queries` of the run.
        kind: Kind of the targets.
        scheme: Scheme of tags of words; None without spans.
    """
    if kind == TAGS:
        train, queries = _name_types(train, scheme), _name_types(queries, scheme)
        frequent = _find_frequent(train[GROUP_NAMES[TAGS]])
        grouped = _group_others(pl.col(GROUP_NAMES[TAGS]), frequent)
        pair = (name_spans(rows.with_columns(grouped), scheme) for rows in (train, queries))
        return next(pair), next(pair)
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
        expression = _group_others(column, _find_frequent(train["label"]))
    ranged = pl.when(column.is_not_null()).then(expression).alias(GROUP_NAMES[kind])
    return train.with_columns(ranged), queries.with_columns(ranged)


def _find_frequent(column: pl.Series) -> pl.Series:
    counts = column.value_counts().sort("count", column.name, descending=[True, False])
    return counts[column.name].head(MAX_SETS)


def _group_others(column: pl.Expr, frequent: pl.Series) -> pl.Expr:
    named = pl.when(column.is_null() | column.is_in(frequent.implode())).then(column)
    return named.otherwise(pl.lit(OTHER_SETS)).name.keep()


def _name_types(rows: pl.DataFrame, scheme: Scheme | None) -> pl.DataFrame:
    names = [None if tags is None else list_types(tags, scheme) for tags in rows["label"].to_list()]
    return rows.with_columns(pl.Series(GROUP_NAMES[TAGS], names, dtype=pl.String))


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
