"""Images as files: a folder of images by class as a table, and the files that a column names."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from tasks.data.file_scanners import ROW
from tasks.data.raw_table import RawTable
from tasks.study.errors import Problem, StudyError, format_value, join_some
from tasks.study.path_kinds import describe_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
COLUMNS = ("image", "label", "path")
"""Columns of a folder of images: the file, the name of its class, and its path as an id."""
MAX_SHOWN = 5


def is_image_folder(path: Path) -> bool:
    """Whether a path is a folder with image files in it or in its subfolders."""
    return path.is_dir() and next(_walk_images(path), None) is not None


def read_image_folder(path: Path, role: str, limit: int | None = None) -> RawTable:
    """Read a folder of images as a table: one row an image, whose label is its top folder.

    Rows are in the order of their paths. Files that are no images are left out, with a note; links
    to folders are not followed.

    Args:
        path: Folder with a subfolder for each label.
        role: Name of the section, train or queries, for messages.
        limit: Largest number of rows; None for all of them.

    Raises:
        StudyError: images that are in no subfolder.
    """
    names = sorted(file.relative_to(path).as_posix() for file in _walk_images(path))
    loose = [name for name in names if "/" not in name]
    if loose:
        expected, got = "images in folders that are named by their labels", "images in no folder"
        change = "move them into the folders of their labels, or write a table with their paths"
        problem = Problem(f"[{role}] table", expected, f"{got}: {join_some(loose, 3)}", change)
        raise StudyError(path, [problem])
    others = sum(len(files) for _, _, files in _walk(path)) - len(names)
    notes = (f"{others} files that are no images are left out",) if others else ()
    names = names[:limit]
    labels = [name.partition("/")[0] for name in names]
    columns = dict(zip(COLUMNS, (names, labels, names), strict=True))
    frame = pl.DataFrame(columns, schema_overrides=dict.fromkeys(COLUMNS, pl.String))
    frame = frame.with_row_index(ROW, 1)
    return RawTable(str(path), list(COLUMNS), frame, notes=notes, folder=path)


def find_image_files(column: pl.Series, folder: Path | None, place: str, where: str) -> list[Path]:
    """Return the paths of the image files that a column names.

    Paths are relative to the folder. No file outside of it is read, not by a link either.

    Args:
        column: Paths without nulls.
        folder: Folder of the table; None if there is none.
        place: Name of the table for messages.
        where: Name of the column for messages.

    Raises:
        StudyError: rows whose file is missing, outside of the folder, or no file.
    """
    if folder is None:
        expected, change = "bytes of image files, or one byte per pixel", "save images as bytes"
        raise StudyError(place, [Problem(where, expected, f"{column.dtype}", change)])
    root = folder.resolve()
    faults = [
        f"row {number}: {format_value(name, 60)} is {fault}"
        for number, name in enumerate(column, 1)
        if (fault := _find_fault(root, name))
    ]
    if faults:
        expected = f"paths of image files, relative to {folder}"
        got = f"{column.dtype} with {join_some(faults, MAX_SHOWN)}"
        change = "correct these paths, or remove the rows"
        raise StudyError(place, [Problem(where, expected, got, change)])
    return [root / name for name in column]


def _find_fault(root: Path, name: str) -> str:
    """Reason why a path names no file within a folder; empty if it does."""
    try:
        file = (root / name).resolve()
        if not file.is_relative_to(root):
            return "outside of this folder"
        if not file.is_file():
            return describe_path(root / name)
        return "" if os.access(file, os.R_OK) else "a file without read permission"
    except (OSError, ValueError, RuntimeError):  # such as a name that is too long, or a zero byte
        return "no path of a file"


def _walk(path: Path) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Walk over a folder without hidden files and folders, and without links to folders.

    Raises:
        StudyError: a folder that cannot be read, whose images would be left out silently.
    """

    def refuse(error: OSError) -> None:
        got, change = error.strerror or str(error), "change its permissions"
        problem = Problem("table", "folders that can be read", got, change)
        raise StudyError(error.filename or path, [problem])

    for folder, folders, files in os.walk(path, onerror=refuse, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield folder, folders, [name for name in files if not name.startswith(".")]


def _walk_images(path: Path) -> Iterator[Path]:
    for folder, _, files in _walk(path):
        yield from (Path(folder, n) for n in files if Path(n).suffix.lower() in SUFFIXES)
