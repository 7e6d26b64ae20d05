"""Table with the profile of every column, before any of them has a role."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from tasks.data.preview import TablePreview, preview_table
from tasks.data.read_options import ReadOptions
from tasks.data.readers import read_file
from tasks.onboarding.column_profiles import ColumnProfile, profile_columns
from tasks.onboarding.header import find_header_problem
from tasks.onboarding.id_column import score_id
from tasks.study.errors import StudyError

MAX_ROWS = 200_000
"""Largest number of rows that are read with all columns; labels and ids are read in all rows."""


@dataclass(frozen=True, eq=False)
class ProfiledTable:
    """Table with all columns.

    Attributes:
        path: File of the table.
        role: Name of the table's section, train or queries.
        frame: Rows, at most MAX_ROWS; columns of CSV files are text.
        profiles: Profile of each column; of labels, groups and ids by all rows.
        keys: Keys of the section that reading the file needs, such as a separator.
        notes: Sentences on what was detected that no key sets.
    """

    path: Path
    role: str
    frame: pl.DataFrame
    profiles: dict[str, ColumnProfile]
    keys: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return self.frame.columns

    @property
    def size(self) -> str:
        """Number of rows in words."""
        is_cut = len(self.frame) == MAX_ROWS
        return f"{len(self.frame):,} rows" + (" or more" if is_cut else "")


def open_table(path: Path, role: str) -> ProfiledTable:
    """Read a table and profile its columns.

    Args:
        path: File of the table.
        role: Name of the table's section, train or queries.

    Raises:
        StudyError: The file cannot be read, or its first row is taken for a header.
    """
    preview = preview_table(path, MAX_ROWS, role)
    profiles = profile_columns(preview.frame)
    if problem := find_header_problem(preview.frame, profiles, role):
        raise StudyError(path, [problem])
    if len(preview.frame) == MAX_ROWS:
        profiles |= _profile_all_rows(path, role, preview, profiles)
    return ProfiledTable(path, role, preview.frame, profiles, preview.detected, preview.notes)


def _profile_all_rows(
    path: Path, role: str, preview: TablePreview, profiles: Mapping[str, ColumnProfile]
) -> dict[str, ColumnProfile]:
    """Profile the columns of few values and of ids by all rows, of which later ones may differ."""
    names = [name for name, profile in profiles.items() if profile.values or score_id(profile) > 0]
    if not names:
        return {}
    options = ReadOptions(**preview.detected, wanted=tuple(names))
    return profile_columns(read_file(path, options, role).frame.select(names))
