"""Rows of features or images: numeric columns, categorical columns, pixels."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.data.column_notes import describe_giveaway, describe_unique
from tasks.data.decimals import POINT, parse_numbers, strip_cells
from tasks.data.feature_notes import describe_categories, describe_parsed
from tasks.data.file_scanners import ROW
from tasks.data.images import read_pixels
from tasks.data.raw_table import RawTable
from tasks.study.errors import (
    Problem,
    StudyError,
    join_some,
)
from tasks.study.sections import TableSource

MAX_SHOWN = 5
EXPECTED = "numbers, lists of numbers of equal length, or text for categories"
MAX_EXACT_INTEGER = 2**53
"""Largest whole number below which all whole numbers are exact in double precision."""
MIN_DISTINCT_ROWS = 30
"""Number of distinct rows below which out-of-fold probabilities are unreliable."""


@dataclass(frozen=True, eq=False)
class Measurements:
    """Values of rows without text.

    Attributes:
        numbers: Numeric columns, [n, d]; NaN for missing values.
        categories: Categorical columns; None for missing values.
        image: Whether the numbers are pixels of images.
        kinds: Kind of each feature, such as numbers or categories.
        notes: Sentences on columns that may have been read in an unexpected way.
        reduced: Whether images were resized or converted, so that different ones may be equal.
    """

    numbers: np.ndarray
    categories: Sequence[Sequence[str | None]]
    image: bool
    kinds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reduced: bool = False

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.numbers)

    def take(self, rows: Sequence[int]) -> "Measurements":
        """Select rows by position, in this order."""
        categories = [[column[i] for i in rows] for column in self.categories]
        return dataclasses.replace(self, numbers=self.numbers[list(rows)], categories=categories)


def read_measurements(
    source: TableSource, opened: RawTable, labels: pl.Series
) -> tuple[Measurements, list[str]]:
    """Read the features or images of a table; return values, and a text description of each row.

    The description is displayed, and hashed as the content of the row.

    Args:
        source: Section of the study.
        opened: Columns of the table, with its decimal mark.
        labels: Labels of the rows, with which no feature should agree in all rows.

    Raises:
        StudyError: a column of an unsupported type, or an image that cannot be decoded.
    """
    if source.image is not None:
        column = opened.frame[source.image]
        pixels, reduced = read_pixels(column, opened.place, opened.folder)
        words = [f"image {hashlib.sha256(row.tobytes()).hexdigest()[:16]}" for row in pixels]
        return Measurements(pixels, [], image=True, reduced=reduced), words
    numbers, categories, kinds, words, notes, problems = [], [], [], [], [], []
    for name in source.features:
        try:
            column = _parse_column(opened, name)
        except _UnreadableError as error:
            change = "correct these rows, or remove the column from features"
            problems.append(Problem(f"column {name}", EXPECTED, error.args[0], change))
            continue
        if isinstance(column, np.ndarray):
            numbers.append(column)
        else:
            categories.append(column)
        kinds.append(_name_kind(column))
        words.append(_describe_values(name, opened.frame[name], column))
        notes += [
            *_describe_column(name, column, opened),
            *([f"{name} is the id of the rows: remove it"] if name == source.id else []),
            *describe_unique(name, column),
            *describe_giveaway(name, opened.frame[name], labels),
        ]
    if problems:
        raise StudyError(opened.place, problems)
    table = np.concatenate(numbers, 1) if numbers else np.zeros((opened.frame.height, 0))
    rows = [", ".join(row) for row in zip(*words, strict=True)]
    notes += _warn_few_distinct(rows)
    return Measurements(table, categories, False, (*kinds,), (*notes,)), rows


def _name_kind(column: np.ndarray | list[str | None]) -> str:
    if not isinstance(column, np.ndarray):
        return "categories"
    return "numbers" if column.shape[1] == 1 else f"lists of {column.shape[1]} numbers"


def _describe_column(
    name: str, column: np.ndarray | list[str | None], opened: RawTable
) -> Iterator[str]:
    """Yield notes on a constant column, and on text that may have been meant otherwise."""
    if not isinstance(column, np.ndarray):
        yield from describe_categories(name, column, opened)
    elif not ((column != column[:1]) & ~(np.isnan(column) & np.isnan(column[:1]))).any():
        yield f"{name} is constant and carries no information"
    else:
        yield from describe_parsed(name, opened)


def _warn_few_distinct(rows: Sequence[str]) -> list[str]:
    """Warn of few distinct rows: duplicates share a fold, so cross-fitting has little data."""
    distinct = len(set(rows))
    if not 1 < distinct < MIN_DISTINCT_ROWS <= len(rows):
        return []
    return [
        f"only {distinct} of {len(rows):,} rows are distinct, and duplicates share a fold: "
        "probabilities are unreliable; review the labels of equal rows"
    ]


class _UnreadableError(ValueError):
    """Error for an unsupported value; its message is the part `got` of a problem."""


def _parse_column(opened: RawTable, name: str) -> np.ndarray | list[str | None]:
    """Parse a column to numbers [n, w] or categories; CSV text is numeric if all of it parses."""
    frame, column = opened.frame, opened.frame[name]
    if isinstance(column.dtype, pl.List | pl.Array):
        return _require_finite(frame, _parse_lists(frame, column))
    if column.dtype.is_integer():
        _check_whole(frame, column)
    if column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        return _require_finite(frame, column.cast(pl.Float64).to_numpy()[:, None])
    if not isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum):
        raise _UnreadableError(str(column.dtype))
    words = strip_cells(column)
    numbers = None if opened.is_typed else parse_numbers(words, opened.decimal or POINT)
    if numbers is None:
        return words.to_list()
    _check_whole(frame, words.cast(pl.Int128, strict=False))
    return _require_finite(frame, numbers.to_numpy()[:, None])


def _check_whole(frame: pl.DataFrame, column: pl.Series) -> None:
    size = column.cast(pl.Int128).abs() > MAX_EXACT_INTEGER
    if size.any():
        got = f"a whole number beyond 2^53 in {_format_rows(frame.filter(size.fill_null(False)))}"
        raise _UnreadableError(f"{got}, which would be rounded; save an id as text")


def _parse_lists(frame: pl.DataFrame, column: pl.Series) -> np.ndarray:
    lists = column.cast(pl.List(column.dtype.inner))  # type: ignore[attr-defined]
    lengths = lists.list.len()
    usual = lengths.mode().sort()[0] if len(lengths) else 0
    odd = frame.filter(lengths.is_null() | (lengths != usual))
    if len(odd) or usual is None or not lists.dtype.inner.is_numeric():  # type: ignore[attr-defined]
        got = (
            f"{lists.dtype}"
            if odd.is_empty()
            else f"a length other than {usual} in {_format_rows(odd)}"
        )
        raise _UnreadableError(got)
    return lists.explode().cast(pl.Float64).to_numpy().reshape(len(column), usual)


def _require_finite(frame: pl.DataFrame, values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    odd = np.flatnonzero(np.isinf(values).any(1)).tolist()
    if odd:
        raise _UnreadableError(f"infinity in {_format_rows(frame[odd])}")
    return values


def _format_rows(bad: pl.DataFrame) -> str:
    return f"row {join_some(map(str, bad[ROW].to_list()), MAX_SHOWN)}"


def _describe_values(
    name: str, column: pl.Series, values: np.ndarray | list[str | None]
) -> list[str]:
    """Describe values as `age=39`, lists by length and digest, since the text is hashed."""
    if isinstance(values, np.ndarray) and values.shape[1] != 1:
        digests = (hashlib.sha256(row.tobytes()).hexdigest()[:12] for row in values)
        return [f"{name}=[{values.shape[1]} numbers, {digest}]" for digest in digests]
    words = column.cast(pl.String).fill_null("?") if not isinstance(values, list) else values
    return [f"{name}={'?' if value is None else _quote_category(value)}" for value in words]


def _quote_category(category: str) -> str:
    """Return a category as it is; in quotes if it contains a separator."""
    return json.dumps(category, ensure_ascii=False) if set(category) & set(',="') else category
