"""Check that a table has a header: names of columns that are no cells of a first row."""

from collections.abc import Mapping

import polars as pl

from tasks.onboarding.column_profiles import ColumnProfile, profile_column
from tasks.study.errors import Problem, format_value, join_some


def find_header_problem(
    frame: pl.DataFrame, profiles: Mapping[str, ColumnProfile], role: str
) -> Problem | None:
    """Return the problem of a table whose column names are all like the cells below them.

    Names that are the numbers of the columns, as pandas gives them, are a header.

    Args:
        frame: Rows of the table.
        profiles: Profiles of its columns.
        role: Name of the section, train or queries.
    """
    names = [name for name, profile in profiles.items() if profile.kind != "empty"]
    starts = (0, 1)
    if not names or any(names == [str(i + s) for i in range(len(names))] for s in starts):
        return None
    if not all(_is_like_cell(frame[name], profiles[name]) for name in names):
        return None
    shown = join_some([format_value(name, 30) for name in names], 6)
    change = "write a first line with the names of the columns"
    return Problem(f"[{role}] table", "a header with the names of the columns", shown, change)


def _is_like_cell(column: pl.Series, profile: ColumnProfile) -> bool:
    """Whether the name of a column reads like a cell of this column."""
    cell = profile_column(pl.Series(column.name, [column.name]))
    if profile.kind in ("number", "date"):
        return cell.kind == profile.kind
    if profile.kind not in ("text", "boolean", "image"):
        return False
    if 2 * profile.distinct <= profile.rows:
        return column.name in profile.values or profile.distinct > len(profile.values)
    lengths = column.drop_nulls().cast(pl.String).str.len_chars()
    bounds = lengths.quantile(0.01) or 0.0, lengths.quantile(0.99) or 0.0
    return bounds[0] <= len(column.name) <= bounds[1]
