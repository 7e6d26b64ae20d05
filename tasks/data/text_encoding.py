"""Encoding of a text file, detected from its bytes: UTF-8, UTF-16 or Windows-1252."""

import codecs
import re

from tasks.data.undecided import UndecidedError
from tasks.data.western_text import find_implausible

UTF_8 = "utf-8"
CODE_PAGE = "cp1252"
DISPLAY_NAMES = {
    CODE_PAGE: "Windows-1252",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "utf-32": "UTF-32",
}
"""Names of detected encodings in messages; none for UTF-8, the default."""
_UTF_8_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_MAX_UTF_8_SHARE = 0.01
"""Largest share of bytes above 127 in UTF-8 sequences, in a file that is not UTF-8 throughout."""


_MIN_ZERO_SHARE, _MAX_ZERO_RATIO = 0.25, 0.1
"""Least share of zero bytes in every second place of UTF-16 without a byte order mark, and their
largest number in the other places relative to it."""
WIDE_HEAD_BYTES = 4096


def detect_encoding(data: bytes) -> str:
    """Detect the encoding of a text: the name of a Python codec.

    UTF-8 is recognised by its validity, UTF-16 by its byte order mark or its zero bytes. Other
    bytes are Windows-1252 if they make plausible western European text in it.

    Raises:
        UndecidedError: other bytes, which may be any of several encodings.
    """
    if encoding := detect_wide(data[:WIDE_HEAD_BYTES]):
        return encoding
    try:
        data.decode(UTF_8)
        return UTF_8
    except UnicodeDecodeError as error:
        start = error.start
    place = _format_place(data, start)
    high = len(_HIGH_BYTE.findall(data))
    if sum(map(len, _UTF_8_SEQUENCE.findall(data))) > _MAX_UTF_8_SHARE * high:
        raise _make_error(f"text that is not UTF-8 throughout: {place}", "correct this line, or ")
    try:
        text = data.decode(CODE_PAGE)
        reason = "it has zero bytes" if "\0" in text else find_implausible(text)
    except UnicodeDecodeError:
        reason = "it has bytes without a meaning there"
    if reason:
        got = f"text that is not UTF-8 ({place}), nor plausible as Windows-1252: {reason}"
        raise _make_error(got)
    return CODE_PAGE


def decode_text(data: bytes, encoding: str) -> str:
    """Decode a text, without its byte order mark.

    Raises:
        UndecidedError: bytes that are invalid in this encoding.
    """
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        got = f"{_format_place(data, error.start)}: {error.reason}"
        expected = f"text in {encoding}"
        change = "correct the key, or remove it to have the encoding detected"
        raise UndecidedError("encoding", expected, got, change) from None
    except UnicodeError as error:  # such as UTF-16 without its byte order mark
        change = "correct the key, or remove it to have the encoding detected"
        raise UndecidedError("encoding", f"text in {encoding}", str(error), change) from None


def detect_wide(head: bytes) -> str:
    """Name of a UTF-16 or UTF-32 codec; empty for other texts."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(head) < 4 or max(even, odd) < _MIN_ZERO_SHARE * len(head) / 2:
        return ""
    if min(even, odd) > _MAX_ZERO_RATIO * max(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _format_place(data: bytes, start: int) -> str:
    line = data.count(b"\n", 0, start) + 1
    return f"byte 0x{data[start]:02X} in line {line}"


def _make_error(got: str, change: str = "") -> UndecidedError:
    remedy = f'{change}save the file as UTF-8, or set encoding to its name, such as "cp1250"'
    return UndecidedError("encoding", "text in UTF-8, UTF-16 or Windows-1252", got, remedy)
