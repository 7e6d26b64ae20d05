"""Scanners of Parquet, CSV and JSON Lines files, with checks that Polars does not make."""

import codecs
import json
import re
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from tasks.study.errors import (
    format_value,
)

ROW = "__row__"
"""Added column with the row number: data rows counted from 1."""


def scan_parquet(path: Path) -> pl.LazyFrame:
    """Scan a Parquet file, with the column ROW.

    Raises:
        ValueError: invalid file, or duplicate column names.
    """
    _check_extent(path)
    rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    return rows.with_row_index(ROW, 1)


def _check_extent(path: Path) -> None:
    """Refuse a footer that points beyond the end of the file, on which Polars panics.

    Raises:
        ValueError: such a footer, or an invalid one.
    """
    footer, size = pq.read_metadata(path), path.stat().st_size
    for group in range(footer.num_row_groups):
        for column in range(footer.num_columns):
            chunk = footer.row_group(group).column(column)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            if not 0 <= start <= start + chunk.total_compressed_size <= size:
                raise ValueError(
                    f"column {chunk.path_in_schema} ends beyond the file: it is truncated"
                )


def scan_csv(path: Path) -> pl.LazyFrame:
    """Scan a CSV file as text, with the column ROW; blank lines are skipped, but counted.

    Raises:
        ValueError: invalid file, or duplicate column names.
    """
    # Columns are read as text, so that an id of 007 keeps its zeros.
    _check_header(path)
    rows = pl.scan_csv(path, glob=False, infer_schema=False).with_row_index(ROW, 1)
    return rows.filter(~pl.all_horizontal(pl.exclude(ROW).is_null()))


def _check_header(path: Path) -> None:
    """Refuse duplicate column names, which Polars would rename.

    Raises:
        ValueError: a duplicate name, quoted in the message.
    """
    first = pl.scan_csv(path, glob=False, infer_schema=False, has_header=False, n_rows=1).collect()
    names = [name for name in first.row(0) if name] if first.height else []
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"several columns named {format_value(duplicates[0])}")


def scan_json_lines(path: Path) -> pl.LazyFrame:
    """Scan a JSON Lines file, with the column ROW.

    Raises:
        ValueError: a row with a duplicate key or a lone surrogate.
    """
    text = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        _check_keys(number, line)
    for number, line in enumerate(lines, 1):
        if _SURROGATE_ESCAPE.search(line):  # Polars would replace a lone one silently
            _check_surrogates(number, line)
    return pl.read_ndjson(BytesIO(text), infer_schema_length=None).lazy().with_row_index(ROW, 1)


def _check_keys(number: int, line: bytes) -> None:
    """Refuse a duplicate key in a row, of which Polars would keep one silently.

    Raises:
        ValueError: a duplicate key, quoted in the message.
    """

    def check_distinct(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            duplicate = min(name for name in names if names.count(name) > 1)
            raise ValueError(f"line {number}: duplicate key {format_value(duplicate)}")

    # Polars reports these errors itself.
    with suppress(json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        json.loads(line, object_pairs_hook=check_distinct)


_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Escape of a surrogate; a pair encodes one character beyond U+FFFF."""


def _check_surrogates(number: int, line: bytes) -> None:
    text = json.dumps(json.loads(line), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"line {number}: a lone surrogate (half of a \\u pair)") from None
