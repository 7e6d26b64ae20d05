"""Scanner of text tables (CSV and TSV), whose separator and encoding are set or detected."""

import polars as pl

from tasks.data.file_content import FileContent
from tasks.data.file_scanners import ROW, check_distinct
from tasks.data.quotes import check_quotes
from tasks.data.read_options import ReadOptions, Scan
from tasks.data.separators import detect_separator, read_separator_line
from tasks.data.text_content import TextContent, read_text

DEFAULT_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def scan_text_table(content: FileContent, options: ReadOptions) -> Scan:
    """Scan a CSV or TSV file as text; blank lines are skipped, but counted.

    Raises:
        ValueError: invalid file, duplicate column names, stray quotes, or an undecided separator or
            encoding.
    """
    text = read_text(content, options.encoding)
    separator = find_separator(text, content, options)
    detected = dict(text.detected)
    if options.separator is None and separator != DEFAULT_SEPARATORS[content.suffix]:
        detected["separator"] = separator
    check_quotes(text, separator)
    rows = _scan_cells(text, separator)
    return Scan(rows, detected, text.notes, separator)


def find_separator(text: TextContent, content: FileContent, options: ReadOptions) -> str:
    """Find the separator: that of the study, of a first line `sep=;`, or the detected one.

    Raises:
        UndecidedError: several separators are possible.
    """
    if separator := options.separator or read_separator_line(text.head):
        return separator
    default = DEFAULT_SEPARATORS[content.suffix]
    return detect_separator(text.head, options.wanted, default, text.is_whole)


def _scan_cells(text: TextContent, separator: str) -> pl.LazyFrame:
    is_from_old_mac = "\n" not in text.head and "\r" in text.head
    keys = {
        "glob": False,
        # Columns are read as text, so that an id of 007 keeps its zeros.
        "infer_schema": False,
        "separator": separator,
        "eol_char": "\r" if is_from_old_mac else "\n",
        "skip_lines": 1 if read_separator_line(text.head) else 0,
    }
    # Polars would rename a column of a duplicate name.
    first = pl.scan_csv(text.source, has_header=False, n_rows=1, **keys).collect()
    check_distinct([name for name in first.row(0) if name] if first.height else [])
    rows = pl.scan_csv(text.source, **keys).with_row_index(ROW, 1)
    return rows.filter(~pl.all_horizontal(pl.exclude(ROW).is_null()))
