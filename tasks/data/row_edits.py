"""Edits of a table: new cells of its label column, and rows to drop."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from fastif import InputError
from tasks.study.errors import format_value


@dataclass(frozen=True)
class RowEdits:
    """Edits by the positions of rows in the table as it is read.

    Attributes:
        column: Name of the label column; fields of nested columns with dots.
        cells: New cell of the label column by position.
        dropped: Positions of the rows to drop.
    """

    column: str
    cells: Mapping[int, Any]
    dropped: Collection[int] = ()


def choose_cells(
    cells: pl.Series, labels: Sequence[str], wanted: Collection[str]
) -> dict[str, Any]:
    """Choose a cell for each wanted label, as the table writes it.

    That is the most frequent cell with this label, else the label in the type of the column.

    >>> choose_cells(pl.Series([1.0, 0.0, 1.0]), ["1", "0", "1"], {"1", "2"})
    {'1': 1.0, '2': 2.0}

    Args:
        cells: Label column as it is stored.
        labels: Label of each row.
        wanted: Labels that are needed.

    Raises:
        InputError: the type of the column cannot hold a label.
    """
    counts: dict[str, Counter] = defaultdict(Counter)
    for cell, label in zip(cells.to_list(), labels, strict=True):
        if label in wanted:
            counts[label][cell] += 1
    return {
        label: counts[label].most_common(1)[0][0] if label in counts else _cast(label, cells)
        for label in sorted(wanted)
    }


def _cast(label: str, cells: pl.Series) -> Any:
    if cells.dtype == pl.Boolean and label in ("true", "false"):
        return label == "true"
    try:
        (cell,) = pl.Series([label]).cast(cells.dtype).to_list()
    except pl.exceptions.PolarsError:
        raise InputError(
            f"column {cells.name}",
            f"a type that holds the label {format_value(label)}",
            f"{cells.dtype}",
            "Save the column as text, or choose another right label.",
        ) from None
    return cell
