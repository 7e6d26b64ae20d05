"""Rows of a Parquet, CSV or JSON Lines file, after a look for what the reader would miss."""

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
"""The added column with the row number as a person counts: data rows from 1."""


def scan_parquet(path: Path) -> pl.LazyFrame:
    """Rows of a Parquet file, with ROW.

    Raises:
        ValueError: the file is not what it claims to be, or two of its columns are of one name.
    """
    _check_extent(path)
    rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    return rows.with_row_index(ROW, 1)


def _check_extent(path: Path) -> None:
    """Refuse a footer that points beyond the file, at which the fast reader would panic.

    Raises:
        ValueError: it does, or it is none.
    """
    footer, size = pq.read_metadata(path), path.stat().st_size
    for group in range(footer.num_row_groups):
        for column in range(footer.num_columns):
            chunk = footer.row_group(group).column(column)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            if not 0 <= start <= start + chunk.total_compressed_size <= size:
                raise ValueError(f"column {chunk.path_in_schema} ends beyond the file: it is cut")


def scan_csv(path: Path) -> pl.LazyFrame:
    """Rows of a CSV file as text, with ROW; blank lines are no rows, but are counted.

    Raises:
        ValueError: the file is not what it claims to be, or two of its columns are of one name.
    """
    # Text, so that an id of 007 stays as it is.
    _check_header(path)
    rows = pl.scan_csv(path, glob=False, infer_schema=False).with_row_index(ROW, 1)
    return rows.filter(~pl.all_horizontal(pl.exclude(ROW).is_null()))


def _check_header(path: Path) -> None:
    """Refuse two columns of one name, of which the reader would rename the second.

    Raises:
        ValueError: naming it.
    """
    first = pl.scan_csv(path, glob=False, infer_schema=False, has_header=False, n_rows=1).collect()
    names = [name for name in first.row(0) if name] if first.height else []
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"more than one column {format_value(duplicates[0])}")


def scan_json_lines(path: Path) -> pl.LazyFrame:
    """Rows of a file with a JSON object a line, with ROW.

    Raises:
        ValueError: a row has a key twice, or half of a character.
    """
    text = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        _check_keys(number, line)
    for number, line in enumerate(lines, 1):
        if _SURROGATE_ESCAPE.search(line):  # the reader would put another character in its place
            _check_surrogates(number, line)
    return pl.read_ndjson(BytesIO(text), infer_schema_length=None).lazy().with_row_index(ROW, 1)


def _check_keys(number: int, line: bytes) -> None:
    """Refuse a key that a row has twice, of which the reader would take one.

    Raises:
        ValueError: naming it.
    """

    def check_distinct(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            duplicate = min(name for name in names if names.count(name) > 1)
            raise ValueError(f"line {number}: more than one key {format_value(duplicate)}")

    with suppress(json.JSONDecodeError, UnicodeDecodeError, RecursionError):  # told by the reader
        json.loads(line, object_pairs_hook=check_distinct)


_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a character beyond U+FFFF; two make one."""


def _check_surrogates(number: int, line: bytes) -> None:
    text = json.dumps(json.loads(line), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"line {number}: half of a character (a lone \\u escape)") from None
