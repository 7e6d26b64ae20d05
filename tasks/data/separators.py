"""Separator of the cells of a text table, detected from its header and its first rows."""

import csv
import io
import re
import sys
from collections.abc import Sequence

from tasks.data.undecided import UndecidedError
from tasks.study.errors import format_value
from tasks.study.spelling import normalize_nfc

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
MAX_ROWS = 200
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)


def read_separator_line(head: str) -> str:
    r"""Read the separator from a first line such as `sep=;`, which Excel obeys; empty without one.

    >>> read_separator_line("sep=;\na;b\n")
    ';'
    """
    match = _SEPARATOR_LINE.match(head)
    return match[1] if match else ""


def detect_separator(head: str, wanted: Sequence[str], default: str, is_whole: bool) -> str:
    """Detect the separator of a table.

    It is the default if its header has the wanted columns, else the only separator whose header has
    them, else the only one that divides the header and all first rows into equally many cells.

    Args:
        head: Beginning of the table.
        wanted: Names of the columns of the study, in Unicode form NFC; empty if unknown.
        default: Separator of the file format: a comma, or a tab.
        is_whole: Whether the head is the whole table; otherwise its last line is left out.

    Raises:
        UndecidedError: several separators are possible.
    """
    lines = head if is_whole else head[: head.rfind("\n") + 1] or head
    tables = {separator: split_rows(lines, separator) for separator in SEPARATORS}
    headers = {
        separator: {normalize_nfc(name) for name in rows[0]} if rows else set()
        for separator, rows in tables.items()
    }
    if not tables[default] or (wanted and headers[default].issuperset(wanted)):
        return default
    fitting = [separator for separator, names in headers.items() if names.issuperset(wanted)]
    if not wanted or not fitting:
        fitting = [separator for separator, rows in tables.items() if _is_regular(rows)]
    if len(fitting) > 1:
        names = " or ".join(f"{SEPARATORS[separator]}s" for separator in fitting)
        change = f"set separator to {' or '.join(map(format_value, fitting))}"
        raise UndecidedError("separator", "one possible separator of cells", names, change)
    return fitting[0] if fitting else default


def split_rows(text: str, separator: str) -> list[list[str]]:
    """Split the first rows of a table into cells; lines without any text are left out."""
    csv.field_size_limit(sys.maxsize)  # a text may be long
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows = []
    for row in reader:
        rows += [row] if any(row) else []
        if len(rows) > MAX_ROWS:
            break
    return rows


def _is_regular(rows: Sequence[Sequence[str]]) -> bool:
    return len(rows[0]) > 1 and len({len(row) for row in rows}) == 1
