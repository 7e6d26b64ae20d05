"""Conversions of data sets, data frames and lists of a Python session to Polars data frames."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import polars as pl

from fastif import InputError
from tasks.study.errors import join_some

INDEX = "row_id"
"""Name of the column of a data frame's index without a name."""
NUMBER = "number"
"""Kind of whole numbers, fractions and truth values."""
FORMS = (
    "a datasets.Dataset, a data frame of pandas or Polars, a list of dicts, or the path of a table"
)


@dataclass(frozen=True, eq=False)
class ConvertedTable:
    """Table that was converted.

    Attributes:
        frame: Columns that Polars can hold.
        index: Column with the index of a pandas data frame; None without one.
        unusable: Names of the columns that were left out.
    """

    frame: pl.DataFrame
    index: str | None = None
    unusable: tuple[str, ...] = ()


def convert_table(data: Any, role: str) -> ConvertedTable:
    """Convert a table of any accepted form.

    Args:
        data: Table in one of the forms.
        role: Name of the argument.

    Raises:
        InputError: The form is not accepted, or columns have equal names or other lengths.
    """
    library = type(data).__module__.partition(".")[0]
    if isinstance(data, pl.LazyFrame | pl.DataFrame):
        return _drop_objects(data.lazy().collect())
    if library == "pandas" and hasattr(data, "columns"):
        return _convert_pandas(data, role)
    if library == "datasets" and hasattr(data, "to_polars") and hasattr(data, "__len__"):
        return _convert_dataset(data)
    if isinstance(data, Mapping) and library != "datasets":
        return _convert_columns({str(name): list(values) for name, values in data.items()}, role)
    if isinstance(data, Sequence) and data and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        return _convert_columns({str(n): [row.get(n) for row in data] for n in names}, role)
    raise InputError(role, FORMS, _describe(data), _suggest(data, role))


def _convert_columns(columns: Mapping[str, list[Any]], role: str) -> ConvertedTable:
    """Convert lists of values, one a column.

    Raises:
        InputError: The lists have different lengths.
    """
    lengths = [f"{name} with {len(values):,}" for name, values in columns.items()]
    if len({len(values) for values in columns.values()}) != 1:
        remedy = "Give every row a value in every column."
        raise InputError(role, "columns of equal lengths", join_some(lengths) or "none", remedy)
    series = {name: _convert_values(name, values) for name, values in columns.items()}
    kept = [column for column in series.values() if column is not None]
    unusable = tuple(name for name, column in series.items() if column is None)
    return _drop_objects(pl.DataFrame(kept), unusable=unusable)


def _convert_values(name: str, values: list[Any]) -> pl.Series | None:
    """Return the values as a column; None if they are of different kinds."""
    kinds = _list_kinds(values)
    if len(kinds) > 1:
        return None
    try:
        return pl.Series(name, values, strict=NUMBER not in kinds)  # 1 and 2.5 are no mixture
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        return None


def _convert_pandas(data: Any, role: str) -> ConvertedTable:
    """Convert a pandas data frame column by column; an index with own unique values is kept.

    Raises:
        InputError: Names of columns are repeated.
    """
    names = [str(name) for name in data.columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        remedy = "Rename or drop the columns."
        raise InputError(role, "columns with different names", join_some(repeated), remedy)
    data = data.set_axis(names, axis="columns")
    index = None
    is_default = list(data.index) == list(range(len(data)))
    if not is_default and data.index.is_unique and data.index.nlevels == 1:
        index = str(data.index.name or INDEX)
        data = data if index in names else data.reset_index(names=[index])
    frames = {name: _convert_pandas_column(data[[name]], name) for name in data.columns}
    kept = [frame for frame in frames.values() if frame is not None]
    unusable = tuple(name for name, frame in frames.items() if frame is None)
    frame = pl.concat(kept, how="horizontal") if kept else pl.DataFrame()
    return _drop_objects(frame, index, unusable)


def _convert_pandas_column(data: Any, name: str) -> pl.DataFrame | None:
    """Return a column as a Polars data frame; None if its values are of different kinds."""
    column = data[name]
    if column.dtype == object and len(_list_kinds(column.dropna())) > 1:
        return None
    try:
        return pl.from_pandas(data.reset_index(drop=True))
    except Exception:  # pyarrow and Polars raise many types for objects
        return None


def _convert_dataset(data: Any) -> ConvertedTable:
    """Convert a data set of Hugging Face; class labels become their names, -1 is missing."""
    frame = data.with_format(None).to_polars()
    for name, feature in data.features.items():
        if type(feature).__name__ == "ClassLabel":
            names = dict(enumerate(feature.names))
            column = pl.col(name).replace_strict(names, default=None, return_dtype=pl.String)
            frame = frame.with_columns(column)
    return _drop_objects(frame)


def _drop_objects(
    frame: pl.DataFrame, index: str | None = None, unusable: tuple[str, ...] = ()
) -> ConvertedTable:
    """Leave out the columns of Python objects, which no file can hold."""
    objects = tuple(name for name, dtype in frame.schema.items() if dtype == pl.Object)
    return ConvertedTable(frame.drop(objects), index, (*unusable, *objects))


def _list_kinds(values: Iterable[Any]) -> set[object]:
    """List the kinds of values; a conversion would reinterpret a mixture of them."""
    return {
        NUMBER if isinstance(value, Number | np.bool_) else type(value)
        for value in values
        if value is not None
    }


def _describe(data: Any) -> str:
    if data is None:
        return "nothing"
    kind = f"{type(data).__module__}.{type(data).__qualname__}".removeprefix("builtins.")
    return f"an empty {kind}" if isinstance(data, Sequence) and not data else kind


def _suggest(data: Any, role: str) -> str:
    if isinstance(data, Mapping):
        return f"Choose a split: {join_some([f'{role}=data[{name!r}]' for name in data])}."
    if hasattr(data, "__iter__") and type(data).__module__.startswith("datasets"):
        return f"Read the stream: {role}=list(data)."
    return f"Give {role} in one of these forms."
