"""Rows of a table as mappings from column names to values, for a model's own collate function."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from tasks.data.dataset import Table
from tasks.data.tabular import Measurements
from tasks.data.vector_column import MIN_WIDTH
from tasks.study.sections import TableSource


@dataclass(frozen=True, eq=False)
class RowValues(Sequence[dict[str, Any]]):
    """Rows of a table as mappings from column names to values.

    Numbers are floats, NaN where they are missing; lists of numbers are arrays; categories are
    text or None; texts are text. Whole numbers and booleans are floats too. Images are the bytes of
    their files, or arrays of pixels from 0 to 1 where the table has one byte per pixel.

    Args:
        names: Columns with the content of a row.
        columns: Values of each of these columns.
        height: Number of rows.
    """

    names: tuple[str, ...]
    columns: tuple[Sequence[Any], ...]
    height: int

    def __len__(self) -> int:
        """The number of rows."""
        return self.height

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | Sequence[dict[str, Any]]:
        """Return the values of a row, or of several, by column."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        values = (column[index] for column in self.columns)
        return dict(zip(self.names, values, strict=True))


def read_rows(source: TableSource, table: Table) -> RowValues:
    """Return the rows of a study's table.

    Args:
        source: Section of the table, with the names of its columns.
        table: Texts or features of the rows.
    """
    if table.measurements is None:
        pairs = () if table.text_pairs is None else (table.text_pairs,)
        return RowValues(source.text, (table.texts, *pairs), len(table))
    if source.image is not None:
        images = table.measurements.encoded
        pixels = images if images is not None else table.measurements.numbers
        return RowValues((source.image,), (pixels,), len(table))  # type: ignore[arg-type]
    columns = tuple(_iterate_columns(table.measurements))
    return RowValues(source.features, columns, len(table))


def _iterate_columns(features: Measurements) -> Iterator[Sequence[Any]]:
    """Yield the values of each feature in the order of the study."""
    numbers, vectors, categories = 0, iter(features.vectors), iter(features.categories)
    for kind in features.kinds:
        if kind == "categories":
            yield next(categories)
        elif kind == "numbers":
            yield features.numbers[:, numbers].tolist()
            numbers += 1
        elif (width := int(kind.split()[2])) < MIN_WIDTH:
            yield features.numbers[:, numbers : numbers + width]  # type: ignore[misc]
            numbers += width
        else:
            yield next(vectors)  # type: ignore[misc]
