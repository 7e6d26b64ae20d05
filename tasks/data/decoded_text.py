"""Text of a file with its encoding and byte order mark, to be written again as it was."""

import codecs
from dataclasses import dataclass

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8", "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)


@dataclass(frozen=True)
class DecodedText:
    """Text of a file.

    Attributes:
        text: The text without a byte order mark.
        codec: Name of a Python codec that writes no byte order mark.
        mark: Byte order mark of the file; empty if it has none.
    """

    text: str
    codec: str
    mark: bytes = b""

    def encode(self, text: str) -> bytes:
        """Encode another text as the file.

        Raises:
            UnicodeEncodeError: a character that the encoding does not have.
        """
        return self.mark + text.encode(self.codec)


def decode_file(data: bytes, encoding: str) -> DecodedText:
    r"""Decode the bytes of a file.

    >>> decode_file("\ufeffé".encode("utf-16-be"), "utf-16")
    DecodedText(text='é', codec='utf-16-be', mark=b'\xfe\xff')

    Args:
        data: Bytes of the file.
        encoding: Name of a Python codec.
    """
    name = codecs.lookup(encoding).name
    for mark, family, codec in _MARKS:
        if data.startswith(mark) and name.startswith(family):
            return DecodedText(data[len(mark) :].decode(codec), codec, mark)
    text = data.decode(name)
    # These codecs write a byte order mark, which the file does not have.
    endless = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}
    return DecodedText(text, endless.get(name, name))
