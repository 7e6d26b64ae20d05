"""One table as a file of each format, encoding, separator and compression."""

import bz2
import functools
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252")
SEPARATORS = (",", ";", "\t", "|")


def zip_rows(data: bytes, name: str = "folder/rows.csv") -> bytes:
    """Return a zip archive with one file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": functools.partial(gzip.compress, mtime=0),  # equal bytes each time: test ids hold them
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
    ".zip": zip_rows,
}


def encode_arrow(frame: pl.DataFrame) -> bytes:
    """Return an Arrow file."""
    frame.write_ipc(file := io.BytesIO())
    return file.getvalue()


def encode_stream(frame: pl.DataFrame) -> bytes:
    """Return an Arrow stream."""
    frame.write_ipc_stream(file := io.BytesIO())
    return file.getvalue()


WRITERS: dict[str, Callable[[pl.DataFrame], bytes]] = {
    "rows.tsv": lambda frame: frame.write_csv(separator="\t").encode(),
    "rows.ndjson": lambda frame: frame.write_ndjson().encode(),
    "rows.json": lambda frame: frame.write_json().encode(),
    "rows.arrow": encode_arrow,
    "rows.feather": encode_arrow,
    "rows.ipc": encode_stream,
}
"""Names of files and what writes them, for the formats besides Parquet, CSV and JSON Lines."""


def write_variants(folder: Path, frame: pl.DataFrame, encoding: str) -> list[str]:
    """Write a table in all formats, and as text in one encoding; return the names of the files."""
    files = {name: write(frame) for name, write in WRITERS.items()}
    for number, separator in enumerate(SEPARATORS):
        text = frame.write_csv(separator=separator)
        files[f"rows{number}.csv"] = text.encode(encoding)
    files["rows.jsonl"] = frame.write_ndjson().encode(encoding.replace("-sig", ""))
    plain = files["rows0.csv"]
    files |= {f"rows.csv{suffix}": press(plain) for suffix, press in COMPRESSIONS.items()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return list(files)
