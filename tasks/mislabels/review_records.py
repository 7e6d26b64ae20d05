"""Records of a reviewer's file, whatever its format: what each says, and what cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tasks.study.errors import Problem, format_value


@dataclass(frozen=True)
class ReviewRecord:
    """What a file says of one row.

    Attributes:
        place: where it stands, such as `row 3` or `task 12`.
        right: the word in place of the right label; None where the row was not looked at.
        reviewer: whose word it is; empty if unknown.
        row: hexadecimal digest of the row's texts and given label; None in files without it.
        id: of the row; None where the file's ids are not the study's.
        texts: first and second text as the file has them; None without such a column.
        label: given label as the file has it; None without such a column.
        drawn: the word of the flag of a random sample; None without such a column.
        when: ISO time of an annotation, by which the newest of one person is known; None elsewhere.
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
        """The place, and the id if there is one."""
        return self.place if self.id is None else f"{self.place}, id {format_value(self.id, 40)}"

    def make_problem(self, where: str, expected: str, got: str, change: str) -> Problem:
        """Why nothing of this record is kept."""
        return Problem(f"{self.name}: {where}", expected, got, change)


@dataclass(frozen=True)
class ReviewFile:
    """A file as read.

    Attributes:
        records: of all rows, those that were not looked at too.
        refused: of rows that cannot be read.
        notes: what a person should know of how the file was read.
        flagged: whether there is a column for the flag of a random sample.
    """

    records: tuple[ReviewRecord, ...]
    refused: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    flagged: bool = False

    def add_notes(self, *notes: str) -> "ReviewFile":
        """The same with more notes."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class RowCells:
    """A row of a table by column, as text; empty cells are None."""

    values: Mapping[str, str | None] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str | None:
        """A cell; None if there is no such column."""
        return self.values.get(name)

    def read_texts(self) -> tuple[str, str] | None:
        """Both texts, the second empty where there is none; None without a column of texts."""
        first = self["text"]
        return None if first is None else (first, self["text_pair"] or "")


def format_cell(value: object) -> str | None:
    """A value as text, empty ones as None; true and false as a spreadsheet has them.

    >>> format_cell(True), format_cell(2), format_cell("  "), format_cell(None)
    ('true', '2', None, None)
    """
    if value is None:
        return None
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if text.strip() else None


def parse_time(word: str | None) -> datetime | None:
    """An ISO time, in UTC where it names no zone; None for no time, or one in another form.

    Times are compared as times: as words, 10:00:00.5Z would come before 10:00:00Z.

    >>> parse_time("2026-01-01T10:30:00+02:00") < parse_time("2026-01-01T09:00:00Z")
    True
    """
    try:
        time = datetime.fromisoformat(word or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
