"""Options of reading a table: what the study sets, and what was detected."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from tasks.study.sections import TableSource


@dataclass(frozen=True)
class ReadOptions:
    """Keys of `[train]` and `[queries]` on the form of a file; None to have it detected.

    Attributes:
        separator: Separator of the cells of a text table.
        decimal: Decimal mark of numbers in a text table.
        encoding: Encoding of a text file.
        sheet: Name of the sheet of a workbook.
        wanted: Names of the columns to read, in Unicode form NFC; empty for all of them.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    wanted: tuple[str, ...] = ()

    @property
    def given(self) -> dict[str, str]:
        """Keys that the study sets, with their values."""
        keys = {
            "separator": self.separator,
            "decimal": self.decimal,
            "encoding": self.encoding,
            "sheet": self.sheet,
        }
        return {key: value for key, value in keys.items() if value is not None}


@dataclass(frozen=True)
class Scan:
    """Rows of a file that are not collected yet, with the column ROW.

    Attributes:
        rows: All columns of the file and ROW.
        detected: Keys of the study that would set what was detected and is not the default.
        notes: Sentences on what was detected that no key sets.
        separator: Separator of the cells of a text table; empty for other formats.
        tag_names: Names of the class numbers in lists, by column, as `datasets` stores them.
    """

    rows: pl.LazyFrame
    detected: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    separator: str = ""
    tag_names: Mapping[str, list[str]] = field(default_factory=dict)


def make_options(source: TableSource, wanted: tuple[str, ...]) -> ReadOptions:
    """Make the options of a section."""
    return ReadOptions(source.separator, source.decimal, source.encoding, source.sheet, wanted)
