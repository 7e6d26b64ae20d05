"""Records of a review file, independent of its format, and problems of unreadable ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tasks.study.errors import Problem, format_value


@dataclass(frozen=True)
class ReviewRecord:
    """Record of one row in a review file.

    Attributes:
        place: Position in the file, such as `row 3` or `task 12`.
        right: Cell of the right label; None if the row was not reviewed.
        reviewer: Name of the reviewer; empty if unknown.
        row: Hexadecimal digest of the row's texts and given label; None without the column.
        id: Id of the row; None where the file's ids are not the study's.
        texts: First and second text in the file; None without a text column.
        label: Given label in the file; None without the column.
        drawn: Cell of the flag of a random audit sample; None without the column.
        when: ISO time of the annotation, for the newest one of a reviewer; None without times.
    """

    place: str
    right: str | None
    reviewer: str = ""
    row: str | None = None
    id: str | None = None
    texts: tuple[str, str] | None = None
    label: str | None = None
    drawn: str | None = None
    when: str | None = None

    @property
    def name(self) -> str:
        """Position in the file, and the id if there is one."""
        return self.place if self.id is None else f"{self.place}, id {format_value(self.id, 40)}"

    def make_problem(self, where: str, expected: str, got: str, change: str) -> Problem:
        """Return the reason why this record is refused."""
        return Problem(f"{self.name}: {where}", expected, got, change)


@dataclass(frozen=True)
class ReviewFile:
    """Parsed review file.

    Attributes:
        records: Records of all readable rows, reviewed or not.
        refused: Problems of rows that cannot be read.
        notes: Notes on the parsing of the file, for the reader.
        flagged: Whether the flag column of a random audit sample has any value.
    """

    records: tuple[ReviewRecord, ...]
    refused: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    flagged: bool = False

    def add_notes(self, *notes: str) -> "ReviewFile":
        """Return this file with additional notes."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class RowCells:
    """Row of a table by column, as text; empty cells are None."""

    values: Mapping[str, str | None] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str | None:
        """Return a cell; None if there is no such column."""
        return self.values.get(name)

    def read_texts(self) -> tuple[str, str] | None:
        """Return both texts, the second one empty if there is none; None without a text column."""
        first = self["text"]
        return None if first is None else (first, self["text_pair"] or "")


def format_cell(value: object) -> str | None:
    """Format a value as text; empty values are None, truth values as in a spreadsheet.

    >>> format_cell(True), format_cell(2), format_cell("  "), format_cell(None)
    ('true', '2', None, None)
    """
    if value is None:
        return None
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if text.strip() else None


def parse_time(word: str | None) -> datetime | None:
    """Parse an ISO time, in UTC without a zone; None for an empty or invalid one.

    Times are compared as times: as strings, 10:00:00.5Z would come before 10:00:00Z.

    >>> parse_time("2026-01-01T10:30:00+02:00") < parse_time("2026-01-01T09:00:00Z")
    True
    """
    try:
        time = datetime.fromisoformat(word or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
