"""Edits of an Arrow table: types, categories, metadata and all other columns stay as they are."""

from typing import Any

import pyarrow as pa

from tasks.data.row_edits import RowEdits
from tasks.study.spelling import normalize_nfc


def edit_arrow(table: pa.Table, edits: RowEdits) -> pa.Table:
    """Replace cells and drop rows of an Arrow table.

    Args:
        table: All rows.
        edits: Edits by position; a dotted column is the field of a nested one.

    Raises:
        KeyError: no such column.
    """
    if edits.cells:
        index, rest = _find_field(table.schema, edits.column)
        column = pa.concat_arrays(_list_chunks(table.column(index)))
        edited = _edit_array(column, rest, edits)
        table = table.set_column(index, table.schema.field(index), edited)
    if not edits.dropped:
        return table
    # A selection by positions would join all chunks of texts, which may be too large for that.
    return table.filter(pa.array([row not in edits.dropped for row in range(table.num_rows)]))


def _list_chunks(column: pa.ChunkedArray) -> list[pa.Array]:
    column = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column
    return column.chunks or [pa.array([], column.type)]


def _find_field(fields: Any, name: str) -> tuple[int, str]:
    """Index of a column by its name or the beginning of a dotted name, and the rest of the name."""
    names = [normalize_nfc(field.name) for field in fields]
    if name in names:
        return names.index(name), ""
    for index, each in enumerate(names):
        if name.startswith(f"{each}.") and pa.types.is_struct(fields.field(index).type):
            return index, name[len(each) + 1 :]
    raise KeyError(name)


def _edit_array(column: pa.Array, rest: str, edits: RowEdits) -> pa.Array:
    if rest:
        index, inner = _find_field(column.type, rest)
        children = column.flatten()
        children[index] = _edit_array(children[index], inner, edits)
        fields = [column.type.field(i) for i in range(column.type.num_fields)]
        return pa.StructArray.from_arrays(children, fields=fields, mask=column.is_null())
    if isinstance(column, pa.DictionaryArray):
        return _edit_categories(column, edits)
    cells = column.to_pylist()
    for position, cell in edits.cells.items():
        cells[position] = cell
    return pa.array(cells, column.type)


def _edit_categories(column: pa.DictionaryArray, edits: RowEdits) -> pa.Array:
    """Replace categories by their numbers; new ones come after the others."""
    categories = column.dictionary.to_pylist()
    numbers = {category: number for number, category in enumerate(categories)}
    indices = column.indices.to_pylist()
    for position, cell in edits.cells.items():
        indices[position] = numbers.setdefault(cell, len(numbers))
    kind = column.type
    return pa.DictionaryArray.from_arrays(
        pa.array(indices, kind.index_type),
        pa.array(list(numbers), kind.value_type),
        ordered=kind.ordered,
    )
