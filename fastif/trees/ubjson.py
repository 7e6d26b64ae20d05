"""Decoder of UBJSON (draft 12), the binary JSON in which XGBoost stores models."""

import struct
from typing import Any

import numpy as np

from fastif.errors import InputError

_NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_CONSTANTS = {"Z": None, "T": True, "F": False}


def read_ubjson(content: bytes) -> Any:
    """Decode a UBJSON value.

    Raises:
        InputError: The content is not UBJSON, or ends early.
    """
    try:
        decoder = _Decoder(content)
        return decoder.read_value(decoder.read_marker())
    except (IndexError, ValueError, struct.error, RecursionError) as error:
        remedy = 'Save the model again, or as JSON: save_model("model.json").'
        raise InputError("XGBoost model", "UBJSON", f"{error}", remedy) from error


class _Decoder:
    """Position in the bytes of a UBJSON value."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def read_marker(self) -> str:
        """Return the next type marker."""
        marker = self._take(1).decode("latin-1")
        return self.read_marker() if marker == "N" else marker

    def read_value(self, marker: str) -> Any:
        """Return the value after its marker."""
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker in _NUMBERS:
            return self._read_numbers(marker, 1)[0].item()
        if marker == "C":
            return self._take(1).decode()
        if marker in "SH":
            return self._read_text()
        if marker == "[":
            return self._read_array()
        if marker == "{":
            return self._read_object()
        raise ValueError(f"an unknown marker {marker!r} at byte {self._place}")

    def _take(self, count: int) -> bytes:
        part = self._content[self._place : self._place + count]
        if count < 0 or len(part) < count:
            raise ValueError(f"the end of the file at byte {self._place}")
        self._place += count
        return part

    def _peek(self) -> str:
        return chr(self._content[self._place])

    def _read_numbers(self, marker: str, count: int) -> np.ndarray:
        kind = np.dtype(_NUMBERS[marker])
        return np.frombuffer(self._take(count * kind.itemsize), dtype=kind)

    def _read_count(self) -> int:
        return int(self.read_value(self.read_marker()))

    def _read_text(self) -> str:
        return self._take(self._read_count()).decode()

    def _read_header(self) -> tuple[str | None, int | None]:
        """Return the type of all members and their number, each None if it is not stated."""
        kind = count = None
        if self._peek() == "$":
            self._take(1)
            kind = self.read_marker()
        if self._peek() == "#":
            self._take(1)
            count = self._read_count()
            if not 0 <= count <= len(self._content):  # more than the file can hold
                raise ValueError(f"{count} members at byte {self._place}")
        return kind, count

    def _read_array(self) -> Any:
        kind, count = self._read_header()
        if count is None:
            values = []
            while (marker := self.read_marker()) != "]":
                values.append(self.read_value(marker))
            return values
        if kind in _NUMBERS:
            return self._read_numbers(kind, count).tolist()
        return [self.read_value(kind or self.read_marker()) for _ in range(count)]

    def _read_object(self) -> dict[str, Any]:
        kind, count = self._read_header()
        pairs = {}
        while count is None or len(pairs) < count:
            if count is None and self._peek() == "}":
                self._take(1)
                break
            name = self._read_text()
            pairs[name] = self.read_value(kind or self.read_marker())
        return pairs
