"""Content of a table's file: decompressed where its first bytes are those of a compressed file."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import pyarrow as pa

from tasks.runtime.machine_memory import count_memory_bytes

WORKBOOK_SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
COMPRESSION_SUFFIXES = (".gz", ".zst", ".zstd", ".bz2", ".xz", ".zip")
CHUNK_BYTES = 2**24
MEMORY_PARTS = 4
"""Decompressed content may take this part of the memory."""
HEAD_BYTES = 2**20
"""Number of bytes from which the separator and the line ends of a file are detected."""


@dataclass(frozen=True)
class FileContent:
    """Content of a file, of which a compressed one is held in memory.

    Attributes:
        path: Path of the file.
        name: Name of the file without the ending of its compression; of a zip archive, the name
            of its only member.
        head: First `HEAD_BYTES` bytes of the content.
        data: Decompressed content; None if the file is not compressed.
        compression: Name of the compression; empty if there is none.
    """

    path: Path
    name: str
    head: bytes
    data: bytes | None = None
    compression: str = ""

    @property
    def suffix(self) -> str:
        """Ending of the name in lower case, such as `.csv`."""
        return Path(self.name).suffix.lower()

    @property
    def is_short(self) -> bool:
        """Whether the head is the whole content."""
        return len(self.head) < HEAD_BYTES

    @property
    def source(self) -> Path | io.BytesIO:
        """Path or buffer, as readers of tables accept them; a short file is not opened again."""
        data = self.head if self.data is None and self.is_short else self.data
        return self.path if data is None else io.BytesIO(data)

    def open(self) -> BinaryIO:
        """Open the content for reading."""
        source = self.source
        return source.open("rb") if isinstance(source, Path) else source

    def read(self) -> bytes:
        """Read the whole content."""
        with self.open() as file:
            return file.read()


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file name into the name without compression and the ending of the compression.

    >>> split_suffix("rows.csv.gz"), split_suffix("rows.csv")
    (('rows.csv', '.gz'), ('rows.csv', ''))
    """
    suffix = Path(name).suffix
    is_compressed = suffix.lower() in COMPRESSION_SUFFIXES
    return (name[: -len(suffix)], suffix) if is_compressed else (name, "")


class TooLargeError(ValueError):
    """Error for a compressed file whose content would not fit in memory.

    Args:
        limit: Largest number of bytes of the content.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit / 2**30:.3g} GB decompressed")
        self.limit = limit


def open_content(path: Path, limit: int | None = None) -> FileContent:
    """Open the content of a file, decompressed if its first bytes say that it is compressed.

    Args:
        path: Path of the file.
        limit: Largest number of bytes of decompressed content; a quarter of the memory if None.

    Raises:
        TooLargeError: more decompressed content.
        ValueError: damaged compression, or a zip archive that does not hold exactly one file.
    """
    limit = limit or count_memory_bytes() // MEMORY_PARTS
    name, _ = split_suffix(path.name)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    is_archive = head.startswith((b"PK\x03\x04", b"PK\x05\x06"))
    if Path(name).suffix.lower() in WORKBOOK_SUFFIXES:
        if is_archive:
            _check_workbook(path, limit)
        return FileContent(path, path.name, head)  # a workbook is a zip archive itself
    if is_archive:
        return _open_archive(path, limit)
    for compression, (magic, open_stream) in _COMPRESSIONS.items():
        if head.startswith(magic):
            try:
                with open_stream(path) as stream:
                    data = _read_limited(stream, limit)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ValueError(f"damaged {compression} compression: {reason}") from None
            return FileContent(path, name, data[:HEAD_BYTES], data, compression)
    return FileContent(path, name, head)


def _check_workbook(path: Path, limit: int) -> None:
    with suppress(zipfile.BadZipFile, NotImplementedError), zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > limit:
            raise TooLargeError(limit)


def _open_archive(path: Path, limit: int) -> FileContent:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                member
                for member in archive.infolist()
                if not member.is_dir() and not member.filename.startswith("__MACOSX/")
            ]
            if len(members) != 1:
                raise ValueError(f"a zip archive of {len(members)} files instead of one")
            if members[0].flag_bits & 1:
                raise ValueError("a zip archive with a password")
            with archive.open(members[0]) as stream:
                data = _read_limited(stream, limit)
            return FileContent(path, members[0].filename, data[:HEAD_BYTES], data, "zip")
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError) as error:
        raise ValueError(f"a damaged zip archive: {error}") from None


def _read_limited(stream: IO[bytes], limit: int) -> bytes:
    chunks, size = [], 0
    while chunk := stream.read(CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise TooLargeError(limit)
    return b"".join(chunks)


def _open_zstd(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression="zstd")


_COMPRESSIONS: dict[str, tuple[bytes, Callable[[Path], Any]]] = {
    "gzip": (b"\x1f\x8b", gzip.GzipFile),
    "zstd": (b"\x28\xb5\x2f\xfd", _open_zstd),
    "bzip2": (b"BZh", bz2.BZ2File),
    "xz": (b"\xfd7zXZ\x00", lzma.LZMAFile),
}
"""First bytes and opening of each kind of compressed file."""
