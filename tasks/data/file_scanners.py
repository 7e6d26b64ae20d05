"""Scanners of Parquet, Arrow and JSON files, with checks that Polars does not make."""

import json
import re
from contextlib import suppress
from io import BytesIO
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.data.class_numbers import read_tag_names
from tasks.data.file_content import FileContent
from tasks.data.read_options import ReadOptions, Scan
from tasks.data.text_content import read_text
from tasks.study.errors import format_value

ROW = "__row__"
"""Added column with the row number: data rows counted from 1."""


def scan_parquet(content: FileContent, options: ReadOptions) -> Scan:
    """Scan a Parquet file.

    Raises:
        ValueError: invalid file, or duplicate column names.
    """
    footer = pq.read_metadata(content.source)
    _check_extent(footer, len(content.read()) if content.data else content.path.stat().st_size)
    columns = [footer.schema.column(i) for i in range(footer.num_columns)]
    uuids = [c.path for c in columns if c.logical_type.type == "UUID" and "." not in c.path]
    rows = pl.scan_parquet(content.source, glob=False, hive_partitioning=False)
    rows = rows.with_columns(map(_format_uuid, uuids)).with_row_index(ROW, 1)
    return Scan(rows, tag_names=read_tag_names(footer.metadata))


def _check_extent(footer: pq.FileMetaData, size: int) -> None:
    """Refuse a footer that points beyond the end of the file, on which Polars panics.

    Raises:
        ValueError: such a footer.
    """
    for group in range(footer.num_row_groups):
        for column in range(footer.num_columns):
            chunk = footer.row_group(group).column(column)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            if not 0 <= start <= start + chunk.total_compressed_size <= size:
                raise ValueError(
                    f"column {chunk.path_in_schema} ends beyond the file: it is truncated"
                )


def _format_uuid(name: str) -> pl.Expr:
    """Expression for a column of 16 bytes as UUID text."""
    digits = pl.col(name).bin.encode("hex")
    parts = [digits.str.slice(*part) for part in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
    return pl.concat_str(parts, separator="-").alias(name)


def scan_arrow(content: FileContent, options: ReadOptions) -> Scan:
    """Scan an Arrow file, in its file format (Feather) or in its stream format.

    Raises:
        ValueError: invalid file, or duplicate column names.
    """
    data = content.read()
    if data.startswith(b"FEA1"):
        raise ValueError("Feather version 1, an old format that Arrow no longer reads")
    is_file = data.startswith(b"ARROW1")
    with (pa.ipc.open_file if is_file else pa.ipc.open_stream)(pa.BufferReader(data)) as reader:
        check_distinct(reader.schema.names)
        table = reader.read_all()
    table.validate(full=True)
    uuids = [f.name for f in table.schema if getattr(f.type, "extension_name", "") == "arrow.uuid"]
    frame = pl.DataFrame(table)
    return Scan(frame.lazy().with_columns(map(_format_uuid, uuids)).with_row_index(ROW, 1))


def check_distinct(names: list[str]) -> None:
    """Refuse duplicate column names.

    Raises:
        ValueError: a duplicate name, quoted in the message.
    """
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"several columns named {format_value(duplicates[0])}")


def scan_json_lines(content: FileContent, options: ReadOptions) -> Scan:
    """Scan a JSON Lines file.

    Raises:
        ValueError: a row with a duplicate key or a lone surrogate.
    """
    text = read_text(content, options.encoding)
    lines = text.data.splitlines()
    for number, line in enumerate(lines, 1):
        _check_keys(number, line)
    for number, line in enumerate(lines, 1):
        if _SURROGATE_ESCAPE.search(line):  # Polars would replace a lone one silently
            _check_surrogates(number, line)
    return Scan(_read_objects(text.data), text.detected)


def scan_json(content: FileContent, options: ReadOptions) -> Scan:
    """Scan a JSON file with an array of objects, one a row.

    Raises:
        ValueError: other content, a row with a duplicate key or a lone surrogate.
    """
    text = read_text(content, options.encoding)
    try:
        items = json.loads(text.data, object_pairs_hook=_make_object)
    except json.JSONDecodeError as error:
        if _is_json_lines(text.data):
            raise ValueError(
                "an object per line instead of an array: rename it to .jsonl"
            ) from None
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("a value that is nested too deeply") from None
    if not isinstance(items, list):
        kind = "one object" if isinstance(items, dict) else format_value(items, 40)
        raise ValueError(f'{kind} instead of an array of objects (in pandas: orient="records")')
    if not items:
        raise ValueError("an array without rows")
    lines = []
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict):
            raise ValueError(f"row {number}: {format_value(item, 40)} instead of an object")
        try:
            lines.append(json.dumps(item, ensure_ascii=False).encode())
        except UnicodeEncodeError:
            raise ValueError(f"row {number}: a lone surrogate (half of a \\u pair)") from None
    return Scan(_read_objects(b"\n".join(lines)), text.detected)


def _read_objects(lines: bytes) -> pl.LazyFrame:
    return pl.read_ndjson(BytesIO(lines), infer_schema_length=None).lazy().with_row_index(ROW, 1)


def _is_json_lines(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data.splitlines()[0]), dict)
    except (ValueError, IndexError, RecursionError):
        return False


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the object of a JSON file from its keys and values.

    Raises:
        ValueError: a duplicate key, of which one would be lost silently.
    """
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        duplicate = min(name for name in names if names.count(name) > 1)
        raise ValueError(f"duplicate key {format_value(duplicate)}")
    return dict(pairs)


def _check_keys(number: int, line: bytes) -> None:
    """Refuse a duplicate key in a row, of which Polars would keep one silently.

    Raises:
        ValueError: a duplicate key, quoted in the message.
    """
    # Polars reports these errors itself.
    with suppress(json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        try:
            json.loads(line, object_pairs_hook=_make_object)
        except json.JSONDecodeError:
            raise
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Escape of a surrogate; a pair encodes one character beyond U+FFFF."""


def _check_surrogates(number: int, line: bytes) -> None:
    text = json.dumps(json.loads(line), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"line {number}: a lone surrogate (half of a \\u pair)") from None
