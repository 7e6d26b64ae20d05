"""Rows of features or images: numeric columns, categorical columns, pixels."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.data.column_notes import describe_giveaway, describe_unique
from tasks.data.decimals import POINT, parse_numbers, strip_cells
from tasks.data.encoded_images import EncodedImages
from tasks.data.feature_notes import describe_categories, describe_parsed
from tasks.data.file_scanners import ROW
from tasks.data.images import read_images
from tasks.data.joined_columns import (
    JoinedColumns,
    count_single,
    is_single,
    plan_joining,
    refuse_cells,
)
from tasks.data.raw_table import RawTable
from tasks.data.vector_column import MIN_WIDTH, VectorColumn
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
        vectors: Columns of long lists of numbers, such as embeddings.
        categories: Categorical columns; None for missing values.
        image: Whether the numbers are pixels of images.
        kinds: Kind of each feature, such as numbers or categories.
        notes: Sentences on columns that may have been read in an unexpected way.
        joined: Whether the first vector is of single columns.
        encoded: Encoded images, as a model reads them; None for features and bare pixels.
    """

    numbers: np.ndarray
    categories: Sequence[Sequence[str | None]]
    image: bool
    kinds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    vectors: tuple[VectorColumn, ...] = ()
    joined: bool = False
    encoded: EncodedImages | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.numbers)

    def take(self, rows: Sequence[int]) -> "Measurements":
        """Select rows by position, in this order."""
        categories = [[column[i] for i in rows] for column in self.categories]
        numbers = self.numbers[list(rows)]
        vectors = tuple(column.take(rows) for column in self.vectors)
        encoded = None if self.encoded is None else self.encoded.take(rows)
        return dataclasses.replace(
            self, numbers=numbers, categories=categories, vectors=vectors, encoded=encoded
        )


def read_measurements(
    source: TableSource, opened: RawTable, labels: pl.Series | None, joins: bool | None = None
) -> tuple[Measurements, list[str]]:
    """Read the features or images of a table; return values, and a text description of each row.

    The description is displayed, and hashed as the content of the row.

    Args:
        source: Section of the study.
        opened: Columns of the table, with its decimal mark.
        labels: Labels of the rows, with which no feature should agree in all rows; None without.
        joins: Whether single columns of numbers are one vector; None decides by their cells.

    Raises:
        StudyError: a column of an unsupported type, an image that cannot be decoded, or more cells
            than memory holds.
    """
    if source.image is not None:
        column = opened.frame[source.image]
        images = read_images(column, opened.place, opened.folder)
        rows = Measurements(images.pixels, [], True, (), images.notes, encoded=images.encoded)
        return rows, images.words
    joined = plan_joining(source, opened, joins)
    numbers, categories, vectors, kinds, words, notes, problems = [], [], [], [], [], [], []
    for name in source.features:
        try:
            column = _parse_column(opened, name)
        except _UnreadableError as error:
            change = "correct these rows, or remove the column from features"
            problems.append(Problem(f"column {name}", EXPECTED, error.args[0], change))
            continue
        kinds.append(_name_kind(column))
        notes += _list_notes(source, opened, name, column, labels)
        if joined is not None and isinstance(column, np.ndarray) and is_single(opened, name):
            joined.add(name, column[:, 0])
            continue
        kept = numbers if isinstance(column, np.ndarray) else categories
        (vectors if isinstance(column, VectorColumn) else kept).append(column)
        words.append(_describe_values(name, opened.frame[name], column))
        refuse_cells(source, opened, len(categories))
    if problems:
        raise StudyError(opened.place, problems)
    if joined is not None:
        _finish_joining(source, opened, joined, joins, (vectors, words, notes))
    table = np.concatenate(numbers, 1) if numbers else np.zeros((opened.frame.height, 0))
    rows = [", ".join(row) for row in zip(*words, strict=True)]
    notes += _warn_few_distinct(rows)
    values = Measurements(table, categories, False, (*kinds,), (*notes,), vectors=(*vectors,))
    return dataclasses.replace(values, joined=joined is not None), rows


def _finish_joining(
    source: TableSource,
    opened: RawTable,
    joined: JoinedColumns,
    joins: bool | None,
    lists: tuple[list[VectorColumn], list[list[str]], list[str]],
) -> None:
    """Put the vector of joined columns before other vectors, with its descriptions and notes."""
    if joins is None and len(joined.names) < MIN_WIDTH:
        refuse_cells(source, opened, count_single(source, opened))
    vectors, words, notes = lists
    if joined.names:
        vector = joined.to_vector()
        vectors.insert(0, vector)
        words.insert(0, [f"{joined.name}={text}" for text in vector.describe()])
        notes += [joined.describe(), *_describe_column(joined.name, vector, opened)]


ParsedColumn = np.ndarray | list[str | None] | VectorColumn
"""Numbers [n, w], categories, or vectors."""


def _name_kind(column: ParsedColumn) -> str:
    if isinstance(column, list):
        return "categories"
    return "numbers" if column.shape[1] == 1 else f"lists of {column.shape[1]} numbers"


def _list_notes(
    source: TableSource, opened: RawTable, name: str, column: ParsedColumn, labels: pl.Series | None
) -> Iterator[str]:
    """Yield notes on a column that may have been read in an unexpected way, or be no feature."""
    yield from _describe_column(name, column, opened)
    if name == source.id:
        yield f"{name} is the id of the rows: remove it"
    yield from describe_unique(name, column)
    if labels is not None:
        yield from describe_giveaway(name, opened.frame[name], labels)


def _describe_column(name: str, column: ParsedColumn, opened: RawTable) -> Iterator[str]:
    """Yield notes on a constant column, and on text that may have been meant otherwise."""
    constant = f"{name} is constant and carries no information"
    if isinstance(column, VectorColumn):
        if column.is_constant():
            yield constant
        if count := column.count_missing():
            yield (
                f"{name} lacks numbers in {count:,} rows: they count as the median of the others, "
                "and that they are missing is not a feature"
            )
    elif isinstance(column, list):
        yield from describe_categories(name, column, opened)
    elif not ((column != column[:1]) & ~(np.isnan(column) & np.isnan(column[:1]))).any():
        yield constant
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


def _parse_column(opened: RawTable, name: str) -> ParsedColumn:
    """Parse a column; text of a CSV file is numeric if all of it can be read as numbers."""
    frame, column = opened.frame, opened.frame[name]
    if isinstance(column.dtype, pl.List | pl.Array):
        lists = _parse_lists(frame, column)
        if lists.shape[1] < MIN_WIDTH:
            return _require_finite(frame, lists)
        vectors = VectorColumn(lists)
        _refuse_infinite(frame, vectors.find_infinite())
        return vectors
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
    odd = frame[[ROW]].filter(lengths.is_null() | (lengths != usual))
    if len(odd) or not usual or not lists.dtype.inner.is_numeric():  # type: ignore[attr-defined]
        got = (
            f"{lists.dtype}"
            if odd.is_empty()
            else f"a length other than {usual} in {_format_rows(odd)}"
        )
        raise _UnreadableError(got)
    numbers = lists.explode()
    if numbers.dtype != pl.Float32:
        numbers = numbers.cast(pl.Float64)
    return numbers.to_numpy().reshape(len(column), usual)


def _require_finite(frame: pl.DataFrame, values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    _refuse_infinite(frame, np.flatnonzero(np.isinf(values).any(1)).tolist())
    return values


def _refuse_infinite(frame: pl.DataFrame, positions: list[int]) -> None:
    if positions:
        raise _UnreadableError(f"infinity in {_format_rows(frame[positions])}")


def _format_rows(bad: pl.DataFrame) -> str:
    return f"row {join_some(map(str, bad[ROW].to_list()), MAX_SHOWN)}"


def _describe_values(name: str, column: pl.Series, values: ParsedColumn) -> list[str]:
    """Describe values as `age=39`, lists by length and digest, since the text is hashed."""
    if isinstance(values, VectorColumn):
        return [f"{name}={words}" for words in values.describe()]
    if isinstance(values, np.ndarray) and values.shape[1] != 1:
        return [f"{name}={words}" for words in VectorColumn(values).describe()]
    words = column.cast(pl.String).fill_null("?") if not isinstance(values, list) else values
    return [f"{name}={'?' if value is None else _quote_category(value)}" for value in words]


def _quote_category(category: str) -> str:
    """Return a category as it is; in quotes if it contains a separator."""
    return json.dumps(category, ensure_ascii=False) if set(category) & set(',="') else category
