"""Pixels of an image column: encoded files such as PNG, their paths, or one byte per pixel."""

import io
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tasks.data.image_files import read_image_files
from tasks.study.errors import Problem, StudyError

MAX_SIDE = 32
"""Side length in pixels to which images are resized if their sizes differ or are large."""
WHOLE_MODES = {"1", "L", "RGB"}
"""Modes of Pillow that are read without loss: no palette, transparency or more than 8 bits."""
MAGIC_BYTES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\x00", b"MM\x00*")
"""First bytes of image files: PNG, JPEG, GIF, BMP, WebP, TIFF."""


def read_pixels(
    column: pl.Series, place: str, folder: Path | None = None
) -> tuple[np.ndarray, bool]:
    """Decode images to pixel values from 0 to 1, [n, d]; also return whether they were reduced.

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
        files = read_image_files(column.cast(pl.String), folder, place, where)
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
    return np.stack(rows).astype(np.float32) / 255, False


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


def _decode_images(files: Iterable[bytes], place: str, where: str) -> tuple[np.ndarray, bool]:
    """Decode image files; resize them if their sizes differ or are large.

    Returns:
        Pixels, and whether different images may have equal ones: resized, or of other modes.
    """
    try:
        from PIL import Image
    except ImportError:
        change = "pip install 'fastif[images]', or save one byte per pixel"
        got = "it is not installed"
        raise _make_error(place, where, "the library Pillow", got, change) from None
    images, modes = [], set()
    for number, file in enumerate(files, 1):
        try:
            image = Image.open(io.BytesIO(file))
            modes.add(image.mode)
            images.append(image.convert("L" if image.mode in ("1", "L") else "RGB"))
        except Exception as error:  # Pillow can raise any exception on a corrupt file
            got = f"row {number}: {type(error).__name__}"
            change = "correct or remove this row"
            expected = "an intact image file"
            raise _make_error(place, where, expected, got, change) from None
    is_grey = all(image.mode == "L" for image in images)
    sizes = {image.size for image in images}
    is_small = len(sizes) == 1 and max(itertools.chain(*sizes)) <= 2 * MAX_SIDE
    shape = next(iter(sizes)) if is_small else (MAX_SIDE, MAX_SIDE)
    resized = (image.convert("L" if is_grey else "RGB").resize(shape) for image in images)
    pixels = np.stack([np.asarray(image, np.float32).ravel() for image in resized]) / 255
    return pixels, not is_small or not modes <= WHOLE_MODES


def _make_error(place: str, where: str, expected: str, got: str, change: str) -> StudyError:
    return StudyError(place, [Problem(where, expected, got, change)])
