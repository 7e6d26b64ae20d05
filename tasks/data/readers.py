"""Reading of a study's table from a file, a folder of images, or by the `datasets` library.

The content is validated in `tasks.data.dataset`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from tasks.data.columns import list_columns, select_columns
from tasks.data.datasets_library import read_dataset
from tasks.data.file_formats import (
    FORMATS,
    READ_ERRORS,
    check_name,
    is_table_name,
    make_read_error,
    scan_file,
)
from tasks.data.file_scanners import ROW
from tasks.data.image_files import is_image_folder, read_image_folder
from tasks.data.raw_table import RawTable
from tasks.data.read_options import ReadOptions, make_options
from tasks.data.undecided import UndecidedError
from tasks.study.errors import Problem, StudyError, suggest
from tasks.study.path_kinds import describe_path
from tasks.study.sections import TableSource


def read_source(source: TableSource, wanted: Sequence[str], folder: Path, role: str) -> RawTable:
    """Read columns of a source.

    Args:
        source: Section of the study.
        wanted: Names of the columns to read.
        folder: Folder from which relative paths start.
        role: Name of the section, train or queries, for messages.

    Raises:
        StudyError: the file or data set does not exist or cannot be read.
    """
    if source.table is not None:
        return read_file(folder / source.table, make_options(source, tuple(wanted)), role)
    return read_dataset(source, wanted, folder, role)


def read_file(path: Path, options: ReadOptions, role: str, limit: int | None = None) -> RawTable:
    """Read a table file, or a folder of images.

    Args:
        path: Path of the file or folder.
        options: Keys of the study on the form of the file, and the wanted columns.
        role: Name of the section, train or queries, for messages.
        limit: Largest number of rows to read; None for all of them.

    Raises:
        StudyError: the file does not exist or cannot be read.
    """
    if is_image_folder(path):
        return read_image_folder(path, role, limit)
    check_name(path, role)
    _check_readable(path, f"[{role}] table")
    if path.stat().st_size == 0:
        got = "an empty file (0 bytes)"
        expected = (
            FORMATS[path.suffix.lower()].expected if path.suffix.lower() in FORMATS else "rows"
        )
        problem = Problem(f"[{role}] table", expected, got, "write the rows to the file")
        raise StudyError(path, [problem])
    try:
        form, scan, content = scan_file(path, options, role)
        schema = scan.rows.collect_schema()
        available = list_columns(schema, ROW)
        selected = select_columns(scan.rows, options.wanted or available, ROW)
        frame = (selected if limit is None else selected.head(limit)).collect()
    except UndecidedError as error:
        raise StudyError(path, [error.make_problem(role)]) from None
    except StudyError:
        raise
    except READ_ERRORS as error:
        raise make_read_error(path, options, role, error) from None
    return RawTable(
        str(path),
        available,
        frame,
        is_typed=form.is_typed,
        decimal=options.decimal,
        separator=scan.separator,
        compression=content.compression,
        detected=scan.detected,
        notes=scan.notes,
        folder=path.parent,
        tag_names=scan.tag_names,
    )


def _check_readable(path: Path, key: str) -> None:
    try:
        is_readable = path.is_file() and os.access(path, os.R_OK)
        got = "a file without read permission" if path.is_file() else ""
    except OSError as error:  # such as a name that is too long
        is_readable, got = False, error.strerror or str(error)
    if not is_readable:
        problem = Problem(key, "a file", got, "correct the path, or its permissions")
        raise StudyError(path, [problem if got else _explain_missing_file(key, path)])


def _explain_missing_file(key: str, path: Path) -> Problem:
    if not path.parent.is_dir():
        got = f"no folder {path.parent}"
        return Problem(key, "a file", got, "correct the path; it is relative to the study file")
    names = [p.name for p in path.parent.iterdir() if is_table_name(p.name) and p.is_file()]
    hint, got = "", describe_path(path)
    if got == "no such file":
        hint = suggest(path.name, names)
    return Problem(key, "a file", got, hint or "correct the path; it is relative to the study file")
