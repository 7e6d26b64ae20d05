"""Preview of a table file of unknown form: all columns of its first rows, and what was detected."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tasks.data.decimals import detect_decimal
from tasks.data.file_scanners import ROW
from tasks.data.read_options import ReadOptions
from tasks.data.readers import read_file
from tasks.data.undecided import UndecidedError


@dataclass(frozen=True)
class TablePreview:
    """First rows of a table.

    Attributes:
        frame: Columns by the names that a study file uses for them: in Unicode form NFC, fields of
            nested columns by dotted names. Cells of text tables are text.
        detected: Keys of `[train]` that have to be written into a study for the table to be read
            this way without a detection; empty for the defaults.
        is_typed: Whether the cells have types; those of text tables have none.
        notes: Sentences on what was detected that no key sets.
    """

    frame: pl.DataFrame
    detected: Mapping[str, str]
    is_typed: bool
    notes: tuple[str, ...] = ()


def preview_table(path: Path, rows: int = 1000, role: str = "train") -> TablePreview:
    """Read the first rows of a table file of any format, with all columns.

    Args:
        path: Path of the file.
        rows: Largest number of rows to read.
        role: Name of the section, train or queries, for messages.

    Raises:
        StudyError: the file does not exist or cannot be read, or its form is ambiguous. The problem
            names the key of the section that decides it.
    """
    raw = read_file(path, ReadOptions(), role, rows)
    with suppress(UndecidedError):  # only columns of features must have a decimal mark
        raw = detect_decimal(raw, raw.frame.columns)
    return TablePreview(raw.frame.drop(ROW), raw.detected, raw.is_typed, raw.notes)
