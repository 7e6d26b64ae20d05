"""Writing of an edited table: text formats as they came in, or any format that fastif reads."""

import bz2
import csv
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fastif import InputError
from tasks.data.arrow_edits import edit_arrow
from tasks.data.csv_edits import edit_csv
from tasks.data.file_content import split_suffix
from tasks.data.json_edits import edit_json, edit_json_lines
from tasks.data.original_table import ARROW_SUFFIXES, OriginalTable
from tasks.data.row_edits import RowEdits
from tasks.data.text_tables import DEFAULT_SEPARATORS
from tasks.study.errors import join_some

LINES = (".jsonl", ".ndjson")
SUFFIXES = (".parquet", ".csv", ".tsv", *LINES, ".json", *ARROW_SUFFIXES)
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst", ".zstd", ".zip")


def is_writable(name: str) -> bool:
    """Whether a file with this name, or only its endings, can be written.

    >>> is_writable("rows.csv.gz"), is_writable(".jsonl"), is_writable("rows.xlsx")
    (True, True, False)
    """
    inner, compression = split_suffix(f"rows{name}")
    is_known = compression.lower() in ("", *COMPRESSIONS)
    return is_known and Path(inner).suffix.lower() in SUFFIXES


def get_format(path: Path) -> tuple[str, str]:
    """Endings of a file's name: that of the format, and that of the compression or an empty one.

    Raises:
        InputError: another ending.
    """
    name, compression = split_suffix(path.name)
    suffix = Path(name).suffix.lower()
    if is_writable(path.name):
        return suffix, compression.lower()
    raise InputError(
        f"--out {path}",
        f"a name that ends in {join_some(SUFFIXES, 20)}, or in one of these and "
        f"{join_some(COMPRESSIONS, 20)}",
        f"{path.suffix or 'no ending'}",
        "Choose one of these formats. Workbooks are read, but not written.",
    )


def keeps_text(original: OriginalTable, suffix: str) -> bool:
    """Whether a table in a text format is written in the same one, as it came in."""
    is_lines = suffix in LINES and original.suffix in LINES
    return original.text is not None and (suffix == original.suffix or is_lines)


def write_edited(original: OriginalTable, edits: RowEdits, path: Path) -> None:
    """Write an edited table, in the format of the file's name.

    Args:
        original: Table with all its columns.
        edits: Edits by position.
        path: File to write.

    Raises:
        InputError: the format or the encoding cannot hold the table.
    """
    suffix, compression = get_format(path)
    if keeps_text(original, suffix):
        if original.fault:
            remedy = "Choose a name that ends in .parquet for --out."
            raise InputError(original.place, "one row a line", original.fault, remedy)
        data = _edit_text(original, edits)
    else:
        data = _format_table(edit_arrow(original.read_arrow(), edits), original, path, suffix)
    path.write_bytes(_compress(data, split_suffix(path.name)[0], compression))


def _edit_text(original: OriginalTable, edits: RowEdits) -> bytes:
    assert original.text is not None, "the caller checks this"
    text, expected = original.text.text, "rows that can be edited one by one"
    try:
        if original.separator:
            edited = edit_csv(text, original.separator, original.numbers, edits)
        else:
            edited = (edit_json if original.suffix == ".json" else edit_json_lines)(text, edits)
        return original.text.encode(edited)
    except UnicodeEncodeError as error:
        character = error.object[error.start]
        expected = f"labels in the encoding of the table, {original.text.codec}"
        got = f"the character {character} (U+{ord(character):04X})"
    except (csv.Error, ValueError) as error:
        got = str(error)
    remedy = "Choose a name that ends in .parquet for --out."
    raise InputError(original.place, expected, got, remedy)


def _format_table(table: pa.Table, original: OriginalTable, path: Path, suffix: str) -> bytes:
    buffer = io.BytesIO()
    if suffix == ".parquet":
        pq.write_table(table, buffer, compression=original.compression)
    elif suffix in ARROW_SUFFIXES:
        is_stream = original.is_stream and suffix == original.suffix
        make_writer = pa.ipc.new_stream if is_stream else pa.ipc.new_file
        with make_writer(buffer, table.schema) as writer:
            writer.write_table(table)
    else:
        _write_text_format(_to_frame(table, path, suffix), buffer, suffix)
    return buffer.getvalue()


def _to_frame(table: pa.Table, path: Path, suffix: str) -> pl.DataFrame:
    """Convert a table for a text format.

    Raises:
        InputError: a column that the format cannot hold.
    """
    frame = pl.DataFrame(table)
    is_flat = suffix in DEFAULT_SEPARATORS
    for name, dtype in frame.schema.items():
        if dtype == pl.Binary or (is_flat and dtype.is_nested()):
            raise InputError(
                f"--out {path}",
                f"a format that holds the column {name}, of type {dtype}",
                suffix,
                "Choose a name that ends in .parquet.",
            )
    return frame


def _write_text_format(frame: pl.DataFrame, buffer: io.BytesIO, suffix: str) -> None:
    if suffix in DEFAULT_SEPARATORS:
        frame.write_csv(buffer, separator=DEFAULT_SEPARATORS[suffix])
    elif suffix in LINES:
        frame.write_ndjson(buffer)
    else:
        frame.write_json(buffer)


def _compress(data: bytes, name: str, compression: str) -> bytes:
    if compression == ".gz":
        return gzip.compress(data, mtime=0)
    if compression == ".bz2":
        return bz2.compress(data)
    if compression == ".xz":
        return lzma.compress(data)
    if compression in (".zst", ".zstd"):
        return pa.Codec("zstd").compress(data, asbytes=True)
    if compression == ".zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, data)
        return buffer.getvalue()
    return data
