"""Text of a table's file in UTF-8, transcoded from the encoding that is set or detected."""

import codecs
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.data.file_content import HEAD_BYTES, FileContent
from tasks.data.text_encoding import (
    UTF_8,
    WIDE_HEAD_BYTES,
    decode_text,
    detect_encoding,
    detect_wide,
)

CHUNK_BYTES = 2**24


@dataclass(frozen=True)
class TextContent:
    """Text of a file in UTF-8.

    Attributes:
        source: Path or buffer for readers, which skip a byte order mark.
        head: Beginning of the text.
        is_whole: Whether the head is the whole text.
        detected: Key `encoding`, if another one than UTF-8 was detected.
        notes: A sentence on an encoding that is set against what the bytes say.
    """

    source: Path | io.BytesIO
    head: str
    is_whole: bool
    detected: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def data(self) -> bytes:
        """The whole text in UTF-8, without a byte order mark."""
        data = self.source.read_bytes() if isinstance(self.source, Path) else self.source.getvalue()
        return data.removeprefix(codecs.BOM_UTF8)


def read_text(content: FileContent, encoding: str | None) -> TextContent:
    """Read a text file; one in UTF-8 is not copied to memory.

    Args:
        content: Content of the file.
        encoding: Encoding of the file; None to have it detected.

    Raises:
        UndecidedError: bytes that are invalid in the encoding, or whose encoding is ambiguous.
    """
    is_utf_8 = _is_utf_8(content)
    if is_utf_8 and (encoding is None or codecs.lookup(encoding).name in (UTF_8, "utf-8-sig")):
        # The last character may be cut.
        text = content.head.decode("utf-8", "ignore").removeprefix("\ufeff")
        return TextContent(content.source, text, content.is_short)
    data = content.read()
    name = encoding or detect_encoding(data)
    text = decode_text(data, name)
    notes = ()
    if is_utf_8 and not data.isascii() and encoding is not None:
        notes = (f'encoding is set to "{encoding}", but the file is valid UTF-8',)
    buffer = io.BytesIO(text.encode("utf-8", "surrogatepass"))
    detected = {} if encoding else {"encoding": name}
    return TextContent(buffer, text[:HEAD_BYTES], len(text) <= HEAD_BYTES, detected, notes)


def _is_utf_8(content: FileContent) -> bool:
    """Whether a file is UTF-8 throughout, and no UTF-16 that happens to be."""
    decoder = codecs.getincrementaldecoder(UTF_8)()
    try:
        with content.open() as file:
            while chunk := file.read(CHUNK_BYTES):
                decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return not detect_wide(content.head[:WIDE_HEAD_BYTES])
