"""Preview of a table: all its columns, before any of them has a role."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from tasks.data.file_scanners import ROW
from tasks.data.readers import read_source
from tasks.onboarding.column_profiles import ColumnProfile, profile_columns
from tasks.study.sections import TableSource


@dataclass(frozen=True, eq=False)
class TablePreview:
    """Rows of a table with all columns.

    Attributes:
        path: File of the table.
        role: Name of the table's section, train or queries.
        frame: All rows; columns of CSV files are text.
        profiles: Profile of each column.
        keys: Keys of the section that reading the file needs, such as a separator.
    """

    path: Path
    role: str
    frame: pl.DataFrame
    profiles: dict[str, ColumnProfile]
    keys: dict[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return self.frame.columns


def open_table(path: Path, role: str) -> TablePreview:
    """Read a table and profile its columns.

    Args:
        path: File of the table.
        role: Name of the table's section, train or queries.

    Raises:
        StudyError: The file cannot be read.
    """
    source = TableSource(table=str(path.absolute()), text=("text",), label="label")
    names = read_source(source, (), Path("/"), role).available
    opened = read_source(source, names, Path("/"), role)
    frame = opened.frame.drop(ROW)
    return TablePreview(path, role, frame, profile_columns(frame))
