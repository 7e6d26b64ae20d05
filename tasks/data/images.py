"""Images of a column: encoded files such as PNG, their paths, or one byte per pixel."""

import hashlib
import importlib.util
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fastif.data.decoded_image import ImageError, PillowImage, decode_image
from tasks.data.encoded_images import EncodedImages, read_content
from tasks.data.image_files import find_image_files
from tasks.study.errors import Problem, StudyError, join_some

MAX_SIDE = 32
"""Side length in pixels to which images are resized if their sizes differ or are large."""
MAGIC_BYTES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\x00", b"MM\x00*")
"""First bytes of image files: PNG, JPEG, GIF, BMP, WebP, TIFF."""
MAX_SHOWN = 5


@dataclass(frozen=True, eq=False)
class ImageColumn:
    """Images of a column.

    Attributes:
        pixels: Pixel values from 0 to 1, [n, d], of images that may be reduced.
        words: Description of each image, different for different images.
        encoded: Encoded images; None for one byte per pixel.
        notes: Sentences on what decoding changed.
    """

    pixels: np.ndarray
    words: list[str]
    encoded: EncodedImages | None = None
    notes: tuple[str, ...] = ()


def read_images(column: pl.Series, place: str, folder: Path | None = None) -> ImageColumn:
    """Decode the images of a column.

    Args:
        column: Column of bytes, of `{bytes, path}` structs (the `datasets` library), of paths of
            image files, or of lists of whole numbers from 0 to 255.
        place: Name of the table for messages.
        folder: Folder from which paths start; None if there is none.

    Raises:
        StudyError: another type of column, or a row that cannot be decoded.
    """
    where = f"column {column.name}"
    if isinstance(column.dtype, pl.Struct) and "bytes" in [f.name for f in column.dtype.fields]:
        column = _select_bytes_or_paths(column)
    if column.null_count():
        row = int(column.is_null().arg_true()[0]) + 1
        raise _make_error(place, where, "an image in every row", f"null in row {row}", "fill it")
    if isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum):
        files = find_image_files(column.cast(pl.String), folder, place, where)
        return _decode_images(files, place, where)
    if column.dtype == pl.Binary:
        files = column.to_list()
        if files and any(files[0].startswith(prefix) for prefix in MAGIC_BYTES):
            return _decode_images(files, place, where)
        rows = [np.frombuffer(file, np.uint8) for file in files]
    elif isinstance(column.dtype, pl.List | pl.Array):
        rows = [
            _parse_pixels(row, number, place, where)
            for number, row in enumerate(column.to_list(), 1)
        ]
    else:
        expected = "bytes or paths of image files, or one byte per pixel"
        change = "save images as bytes; use features for other numbers"
        raise _make_error(place, where, expected, f"{column.dtype}", change)
    sizes = [len(row) for row in rows]
    if len(set(sizes)) > 1:
        odd = next(i for i, size in enumerate(sizes) if size != sizes[0])
        got = f"{sizes[0]} in row 1, {sizes[odd]} in row {odd + 1}"
        change = "save images of equal size, or encoded image files such as PNG"
        raise _make_error(place, where, "the same number of pixels in every row", got, change)
    pixels = np.stack(rows).astype(np.float32) / 255
    return ImageColumn(pixels, _describe_rows(pixels))


def _select_bytes_or_paths(column: pl.Series) -> pl.Series:
    """Bytes of a struct of the `datasets` library; its paths if no row has bytes."""
    content = column.struct.field("bytes")
    has_paths = "path" in column.struct.fields and content.null_count() == len(content)
    return column.struct.field("path") if has_paths else content


def _parse_pixels(row: Any, number: int, place: str, where: str) -> np.ndarray:
    pixels = np.asarray(row)
    if pixels.dtype.kind not in "iu" or pixels.size == 0 or pixels.min() < 0 or pixels.max() > 255:
        expected, change = "whole numbers from 0 to 255", "scale them, or use features instead"
        raise _make_error(place, where, expected, f"others in row {number}", change)
    return pixels.ravel().astype(np.uint8)


def _decode_images(
    sources: Sequence[bytes] | Sequence[Path], place: str, where: str
) -> ImageColumn:
    """Decode image files, one in memory at a time; resize them if sizes differ or are large."""
    if importlib.util.find_spec("PIL") is None:
        change = "pip install 'fastif[images]', or save one byte per pixel"
        got = "it is not installed"
        raise _make_error(place, where, "the library Pillow", got, change)
    images: list[PillowImage] = []
    sizes, digests, words, faults = set(), [], [], []
    changes: Counter[str] = Counter()
    for number, source in enumerate(sources, 1):
        try:
            content = read_content(source)
            decoded = decode_image(content if content is not None else b"")
        except ImageError as error:
            faults.append(f"row {number}: {error}")
            continue
        image = decoded.pixels
        digests.append(hashlib.sha256(content or b"").digest())
        whole = f"{image.mode} {image.size} ".encode() + image.tobytes()
        words.append(f"image {hashlib.sha256(whole).hexdigest()[:16]}")
        sizes.add(image.size)
        is_large = max(image.size) > 2 * MAX_SIDE
        images.append(image.resize((MAX_SIDE, MAX_SIDE)) if is_large else image)
        changes.update(decoded.changes)
    if faults:
        change = "correct or remove these rows"
        got = join_some(faults, MAX_SHOWN)
        raise _make_error(place, where, "an intact image file", got, change)
    is_grey = all(image.mode == "L" for image in images)
    is_small = len(sizes) == 1 and max(itertools.chain(*sizes)) <= 2 * MAX_SIDE
    shape = next(iter(sizes)) if is_small else (MAX_SIDE, MAX_SIDE)
    resized = (image.convert("L" if is_grey else "RGB").resize(shape) for image in images)
    pixels = np.stack([np.asarray(image, np.float32).ravel() for image in resized]) / 255
    notes = tuple(f"images: {change} in {count:,} rows" for change, count in changes.items())
    reduced = not is_small or bool(changes)
    encoded = EncodedImages(sources, digests, place)
    # Words of the whole image: different ones may be equal once they are resized.
    return ImageColumn(pixels, words if reduced else _describe_rows(pixels), encoded, notes)


def reduce_images(images: EncodedImages) -> np.ndarray:
    """Return pixel values of images in RGB and of one small size, [n, d]."""
    decoded = (decode_image(content).pixels.convert("RGB") for content in images)
    rows = [np.asarray(image.resize((MAX_SIDE, MAX_SIDE)), np.float32).ravel() for image in decoded]
    return np.stack(rows) / 255


def _describe_rows(pixels: np.ndarray) -> list[str]:
    return [f"image {hashlib.sha256(row.tobytes()).hexdigest()[:16]}" for row in pixels]


def _make_error(place: str, where: str, expected: str, got: str, change: str) -> StudyError:
    return StudyError(place, [Problem(where, expected, got, change)])
