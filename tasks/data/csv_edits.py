"""Edits of a text table: all other cells, quotes, line ends and blank lines stay as they are."""

import csv
import re
import sys
from collections.abc import Iterator, Sequence

from tasks.data.row_edits import RowEdits
from tasks.data.separators import read_separator_line
from tasks.study.errors import format_value
from tasks.study.spelling import normalize_nfc

Record = tuple[str, list[str]]
"""Text of a record, which may have several lines, and its cells."""


def edit_csv(text: str, separator: str, numbers: Sequence[int], edits: RowEdits) -> str:
    r"""Replace cells and drop rows of a text table.

    >>> edit_csv('id;label\n1;"a"\n2;b\n', ";", [1, 2], RowEdits("label", {0: "c"}, {1}))
    'id;label\n1;"c"\n'

    Args:
        text: The table, without a byte order mark.
        separator: Separator of the cells.
        numbers: Number of each row, counted from 1 with blank lines.
        edits: Edits by position in `numbers`.

    Raises:
        ValueError: the records are not the rows that were read.
    """
    head, names, records = _split_table(text, separator)
    column = names.index(edits.column)
    positions = {number: position for position, number in enumerate(numbers)}
    parts = [head]
    for number, (record, cells) in enumerate(records, 1):
        position = positions.pop(number, -1)  # blank lines are no rows
        if position in edits.dropped:
            continue
        if position in edits.cells:
            new = str(edits.cells[position])
            record = _replace_cell(record, separator, column, cells[column], new)
        parts.append(record)
    if positions:
        raise ValueError(f"{len(positions)} rows have no line")
    return "".join(parts)


def read_cells(text: str, separator: str, numbers: Sequence[int], column: str) -> list[str | None]:
    """Read the cells of a column by the records that an edit would change.

    Args:
        text: The table, without a byte order mark.
        separator: Separator of the cells.
        numbers: Number of each row, counted from 1 with blank lines.
        column: Name of the column.
    """
    _, names, records = _split_table(text, separator)
    place = names.index(column)
    lines = [cells[place] if place < len(cells) else None for _, cells in records]
    return [lines[number - 1] if number <= len(lines) else None for number in numbers]


def _split_table(text: str, separator: str) -> tuple[str, list[str], list[Record]]:
    """The text up to the header's end, the names of the columns, and the records."""
    records = list(_split_records(text, separator))
    start = 1 if read_separator_line(text) else 0
    while start < len(records) and not records[start][1]:  # blank lines before the header
        start += 1
    head = "".join(record for record, _ in records[: start + 1])
    return head, [normalize_nfc(name) for name in records[start][1]], records[start + 1 :]


def _split_records(text: str, separator: str) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)  # a text may be long
    end = "\r" if "\n" not in text else "\n"
    lines = text.split(end)
    lines = [*(f"{line}{end}" for line in lines[:-1]), *filter(None, lines[-1:])]
    # A reader takes a carriage return for the end of a line.
    reader = csv.reader(lines, delimiter=separator)
    start = 0
    for cells in reader:
        yield "".join(lines[start : reader.line_num]), cells
        start = reader.line_num


def _replace_cell(record: str, separator: str, column: int, old: str, new: str) -> str:
    r"""Replace a cell of a record; it is quoted if the old one was, or if it has to be.

    >>> _replace_cell('a,"b, c",d\n', ",", 1, "b, c", "e")
    'a,"e",d\n'
    >>> _replace_cell("a,b\n", ",", 1, "b", "c, d")
    'a,"c, d"\n'

    Raises:
        ValueError: the record has another cell there.
    """
    mark = re.escape(separator)
    pattern = re.compile(rf'"(?:[^"]|"")*"|[^{mark}\r\n]*')
    start, cell = -1, ""
    for _ in range(column + 1):
        start += len(cell) + 1
        match = pattern.match(record, start)
        cell = "" if match is None else match[0]
    is_quoted = cell.startswith('"')
    if (cell[1:-1].replace('""', '"') if is_quoted else cell) != old:
        raise ValueError(f"a line with another cell than {format_value(old)}")
    is_quoted = is_quoted or re.search(rf'["{mark}\r\n]|^\s|\s$', new) is not None
    doubled = new.replace('"', '""')
    written = f'"{doubled}"' if is_quoted else new
    return "".join([record[:start], written, record[start + len(cell) :]])
