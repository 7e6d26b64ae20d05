"""Single columns of numbers of a large table, which are read as one vector."""

import numpy as np
import polars as pl

from tasks.data.raw_table import RawTable
from tasks.data.vector_column import MIN_WIDTH, VectorColumn
from tasks.study.errors import Problem, StudyError
from tasks.study.sections import TableSource

MAX_CELLS = 2**27
"""Maximum number of cells of single columns; beyond, those of numbers are read as one vector."""
MAX_ROUNDING = 1e-3
"""Largest rounding error of single precision, relative to a column's median absolute deviation."""


class JoinedColumns:
    """Single columns of numbers that are read as one vector in single precision.

    Precision is double from the first column on that single precision would change, such as Unix
    times of one day.

    Args:
        rows: Number of rows.
        width: Maximum number of columns.

    Attributes:
        names: Names of the columns.
    """

    def __init__(self, rows: int, width: int) -> None:
        self.names: list[str] = []
        self._values = np.empty((rows, width), dtype=np.float32)

    def add(self, name: str, numbers: np.ndarray) -> None:
        """Add a column, [n]; NaN for missing numbers."""
        count = len(self.names)
        if self._values.dtype == np.float32 and not fits_single_precision(numbers):
            double = np.empty(self._values.shape)
            double[:, :count] = self._values[:, :count]
            self._values = double
        self._values[:, count] = numbers
        self.names.append(name)

    @property
    def name(self) -> str:
        """Name of the vector."""
        return f"{self.names[0]} to {self.names[-1]}"

    def to_vector(self) -> VectorColumn:
        """Return the columns as a vector for each row."""
        return VectorColumn(self._values[:, : len(self.names)])

    def describe(self) -> str:
        """Return a note on how the columns are read."""
        return (
            f"the {len(self.names)} columns of numbers {self.name} are read as one list of numbers "
            "in each row, as embeddings are: without splines, random Fourier features and "
            f"indicators of missing values, since [train] has more than {MAX_CELLS:,} cells"
        )


def is_single(opened: RawTable, name: str) -> bool:
    """Whether a column has one value a row, and no list."""
    return not isinstance(opened.frame.schema[name], pl.List | pl.Array)


def count_single(source: TableSource, opened: RawTable) -> int:
    """Number of features that are single columns."""
    return sum(is_single(opened, name) for name in source.features)


def plan_joining(source: TableSource, opened: RawTable, joins: bool | None) -> JoinedColumns | None:
    """Return an empty vector for the columns of a table with many cells; None if they stay single.

    Args:
        source: Section of the study.
        opened: Columns of the table.
        joins: Whether columns are joined; None decides by their cells.

    Raises:
        StudyError: The table has too many cells, and too few columns for a vector.
    """
    columns = count_single(source, opened)
    is_large = columns * opened.frame.height > MAX_CELLS
    if joins or (joins is None and is_large and columns >= MIN_WIDTH):
        return JoinedColumns(opened.frame.height, columns)
    refuse_cells(source, opened, columns)
    return None


def refuse_cells(source: TableSource, opened: RawTable, columns: int) -> None:
    """Refuse more cells of single columns than memory holds as descriptions and splines.

    Args:
        source: Section of the study.
        opened: Columns of the table.
        columns: Number of columns that stay single.

    Raises:
        StudyError: They have more than `MAX_CELLS` cells.
    """
    if (cells := columns * opened.frame.height) > MAX_CELLS:
        got = f"{cells:,} ({columns:,} columns of {opened.frame.height:,} rows)"
        change = (
            "save numbers as one column with a list of numbers in each row, as embeddings are, "
            "which takes a tenth of the memory; leave out columns of text"
        )
        where = f"columns {source.features[0]} to {source.features[-1]}"
        expected = f"at most {MAX_CELLS:,} cells, or {MIN_WIDTH} or more columns of numbers"
        raise StudyError(opened.place, [Problem(where, expected, got, change)])


def fits_single_precision(numbers: np.ndarray) -> bool:
    """Whether single precision keeps the differences of a column.

    Args:
        numbers: Numbers in double precision, [n]; NaN for missing ones.

    Examples:
        >>> fits_single_precision(np.array([0.1, 0.2, 0.3]))
        True
        >>> fits_single_precision(1.7e9 + np.array([1.0, 2.0, 3.0]))
        False
    """
    present = numbers[~np.isnan(numbers)]
    with np.errstate(over="ignore"):
        single = present.astype(np.float32)
    if not np.isfinite(single).all():
        return False
    error = np.abs(single - present)
    if not error.any():
        return True
    deviation = np.abs(present - np.median(present))
    scale = np.median(deviation[deviation > 0]) if deviation.any() else np.inf
    return bool(np.median(error) <= MAX_ROUNDING * scale)
