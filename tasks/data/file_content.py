"""Content of a table's file: decompressed where its first bytes are those of a compressed file."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

WORKBOOK_SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
COMPRESSION_SUFFIXES = (".gz", ".zst", ".zstd", ".bz2", ".xz", ".zip")
HEAD_BYTES = 2**20
"""Number of bytes from which the separator and the line ends of a file are detected."""


@dataclass(frozen=True)
class FileContent:
    """Content of a file, of which a compressed one is held in memory.

    Attributes:
        path: Path of the file.
        name: Name of the file without the ending of its compression; of a zip archive, the name
            of its only member.
        data: Decompressed content; None if the file is not compressed.
        compression: Name of the compression; empty if there is none.
    """

    path: Path
    name: str
    data: bytes | None = None
    compression: str = ""

    @property
    def suffix(self) -> str:
        """Ending of the name in lower case, such as `.csv`."""
        return Path(self.name).suffix.lower()

    def open(self) -> BinaryIO:
        """Open the content for reading."""
        return self.path.open("rb") if self.data is None else io.BytesIO(self.data)

    @property
    def source(self) -> Path | io.BytesIO:
        """Path or buffer, as readers of tables accept them."""
        return self.path if self.data is None else io.BytesIO(self.data)

    def read(self) -> bytes:
        """Read the whole content."""
        return self.path.read_bytes() if self.data is None else self.data

    def read_head(self) -> bytes:
        """Read the first bytes of the content."""
        with self.open() as file:
            return file.read(HEAD_BYTES)


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file name into the name without compression and the ending of the compression.

    >>> split_suffix("rows.csv.gz"), split_suffix("rows.csv")
    (('rows.csv', '.gz'), ('rows.csv', ''))
    """
    suffix = Path(name).suffix
    is_compressed = suffix.lower() in COMPRESSION_SUFFIXES
    return (name[: -len(suffix)], suffix) if is_compressed else (name, "")


def open_content(path: Path) -> FileContent:
    """Open the content of a file, decompressed if its first bytes say that it is compressed.

    Raises:
        ValueError: damaged compression, or a zip archive that does not hold exactly one file.
    """
    name, _ = split_suffix(path.name)
    with path.open("rb") as file:
        head = file.read(8)
    if Path(name).suffix.lower() in WORKBOOK_SUFFIXES:
        return FileContent(path, path.name)  # a workbook is a zip archive itself
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _open_archive(path)
    for compression, (magic, decompress) in _COMPRESSIONS.items():
        if head.startswith(magic):
            try:
                data = decompress(path.read_bytes())
            except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ValueError(f"damaged {compression} compression: {reason}") from None
            return FileContent(path, name, data, compression)
    return FileContent(path, name)


def _open_archive(path: Path) -> FileContent:
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
            return FileContent(path, members[0].filename, archive.read(members[0]), "zip")
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError) as error:
        raise ValueError(f"a damaged zip archive: {error}") from None


def _decompress_zstd(data: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        return stream.read()


_COMPRESSIONS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"\x1f\x8b", gzip.decompress),
    "zstd": (b"\x28\xb5\x2f\xfd", _decompress_zstd),
    "bzip2": (b"BZh", bz2.decompress),
    "xz": (b"\xfd7zXZ\x00", lzma.decompress),
}
"""First bytes and decompression of each kind of compressed file."""
