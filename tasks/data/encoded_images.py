"""Encoded images of a table: files that are read when an image is taken, or bytes in memory."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from tasks.study.errors import Problem, StudyError


@dataclass(frozen=True, eq=False)
class EncodedImages(Sequence[bytes]):
    """Encoded images, one a row, whose files must not change while they are used.

    Attributes:
        sources: Content of each image, or the path of its file.
        digests: SHA-256 of each image when the table was read.
        place: Name of the table for messages.
    """

    sources: Sequence[bytes | Path]
    digests: Sequence[bytes]
    place: str

    def __len__(self) -> int:
        """The number of images."""
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> "EncodedImages": ...
    def __getitem__(self, index: int | slice) -> "bytes | EncodedImages":
        """Return the content of an image, or several images.

        Raises:
            StudyError: A file is gone, or has another content than when the table was read.
        """
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        content = read_content(self.sources[index])
        if content is not None and hashlib.sha256(content).digest() == self.digests[index]:
            return content
        got = "no file any more" if content is None else "another content"
        change = "start again with unchanged images"
        problem = Problem(f"row {index + 1}", "the image that was read before", got, change)
        raise StudyError(self.place, [problem])

    def take(self, rows: Sequence[int]) -> "EncodedImages":
        """Select images by position, in this order."""
        sources, digests = [self.sources[i] for i in rows], [self.digests[i] for i in rows]
        return EncodedImages(sources, digests, self.place)


def read_content(source: bytes | Path) -> bytes | None:
    """Read an image; None if its file cannot be read."""
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError:
        return None
