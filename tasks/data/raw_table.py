"""Columns of a table as they were read from a file or data set, before they are validated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl


@dataclass(frozen=True)
class RawTable:
    """Columns that were read from a source.

    Attributes:
        place: Name of the source for messages.
        available: Names of all columns of the source.
        frame: Wanted columns that exist, and ROW.
        class_names: Names of the classes, by column, for `datasets` columns with class labels.
        tag_names: Names of the class numbers in lists, by column, as `datasets` stores them.
        is_typed: Whether cells have types, so that text is never read as a number.
        decimal: Decimal mark that the study sets for numbers in text; None to have it detected.
        separator: Separator of the cells of a text table; empty for other formats.
        compression: Name of the compression of the file; empty if there is none.
        detected: Keys of the study that would set what was detected and is not the default.
        notes: Sentences on what was detected that no key sets.
        folder: Folder of the files that a column of paths names; None if there is none.
    """

    place: str
    available: list[str]
    frame: pl.DataFrame
    class_names: Mapping[str, list[str]] = field(default_factory=dict)
    is_typed: bool = True
    decimal: str | None = None
    separator: str = ""
    compression: str = ""
    detected: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    tag_names: Mapping[str, list[str]] = field(default_factory=dict)
