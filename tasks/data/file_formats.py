"""Formats of table files by the ending of their names, and the reading of one with all columns."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from polars.exceptions import PanicException, PolarsError
from pyarrow import ArrowException

from tasks.data.broken_lines import find_broken_line
from tasks.data.conll_table import scan_conll
from tasks.data.file_content import (
    COMPRESSION_SUFFIXES,
    FileContent,
    TooLargeError,
    open_content,
    split_suffix,
)
from tasks.data.file_scanners import scan_arrow, scan_json, scan_json_lines, scan_parquet
from tasks.data.read_options import ReadOptions, Scan
from tasks.data.text_tables import scan_text_table
from tasks.data.undecided import UndecidedError
from tasks.data.workbooks import EXTRA, MissingReaderError, scan_workbook
from tasks.study.errors import Problem, StudyError, format_value, join_some


@dataclass(frozen=True)
class FileFormat:
    """Format of table files.

    Attributes:
        expected: Description for messages.
        scan: Function that scans the content of a file.
        keys: Keys of the study that apply to the format.
        is_typed: Whether cells have types, so that text is never read as a number.
    """

    expected: str
    scan: Callable[[FileContent, ReadOptions], Scan]
    keys: tuple[str, ...] = ()
    is_typed: bool = True


_TEXT_KEYS = ("separator", "decimal", "encoding")
_CSV = FileFormat("a text table with a header line", scan_text_table, _TEXT_KEYS, is_typed=False)
_JSON_LINES = FileFormat("JSON Lines, one object per line", scan_json_lines, ("encoding",))
_ARROW = FileFormat("an Arrow file (Feather version 2 or a stream)", scan_arrow)
_CONLL = FileFormat(
    "a CoNLL file: a word a line, and blank lines between sentences", scan_conll, ("encoding",)
)
_WORKBOOK = FileFormat("a workbook with a header row", scan_workbook, ("sheet",))
FORMATS = {
    ".parquet": FileFormat("a Parquet file", scan_parquet),
    ".csv": _CSV,
    ".jsonl": _JSON_LINES,
    ".tsv": _CSV,
    ".ndjson": _JSON_LINES,
    ".json": FileFormat("a JSON array of objects", scan_json, ("encoding",)),
    **dict.fromkeys((".conll", ".bio", ".iob"), _CONLL),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), _ARROW),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), _WORKBOOK),
}
READ_ERRORS = (PolarsError, PanicException, ArrowException, OSError, ValueError)


def is_table_name(name: str) -> bool:
    """Whether a file name ends like that of a table, compressed or not."""
    inner, compression = split_suffix(name)
    return Path(inner).suffix.lower() in FORMATS or compression.lower() == ".zip"


def check_name(path: Path, role: str) -> None:
    """Refuse a file whose name does not end like that of a table.

    Raises:
        StudyError: another ending.
    """
    if not is_table_name(path.name):
        got = format_value(path.name)
        raise StudyError(path, [_make_suffix_problem(f"[{role}] table", got)])


def scan_file(path: Path, options: ReadOptions, role: str) -> tuple[FileFormat, Scan, FileContent]:
    """Scan a table file.

    Args:
        path: Existing file, not empty.
        options: Keys of the study on the form of the file.
        role: Name of the section, train or queries, for messages.

    Raises:
        StudyError: another format, a key that does not apply, or an undecided property.
        READ_ERRORS: other errors of the content.
    """
    try:
        content = open_content(path)
    except TooLargeError as error:
        expected = f"at most {error.limit / 2**30:.3g} GB decompressed, for this machine's memory"
        change = "save it uncompressed, as .csv or .parquet, which are not held in memory"
        raise StudyError(path, [Problem(f"[{role}] table", expected, f"{error}", change)]) from None
    if content.suffix not in FORMATS:
        got = f"{format_value(content.name)} in a zip archive"
        raise StudyError(path, [_make_suffix_problem(f"[{role}] table", got)])
    form = FORMATS[content.suffix]
    if problems := [
        Problem(
            f"[{role}] {key}",
            f"no such key for a {content.suffix} file",
            format_value(value),
            "remove the key",
        )
        for key, value in options.given.items()
        if key not in form.keys
    ]:
        raise StudyError(path, problems)
    try:
        return form, form.scan(content, options), content
    except UndecidedError as error:
        raise StudyError(path, [error.make_problem(role)]) from None
    except MissingReaderError as error:
        problem = Problem(f"[{role}] table", form.expected, str(error), EXTRA)
        raise StudyError(path, [problem]) from None


def make_read_error(path: Path, options: ReadOptions, role: str, error: Exception) -> StudyError:
    """Make the error for a file that cannot be read, with the first broken line if there is one."""
    form = FORMATS.get(Path(split_suffix(path.name)[0]).suffix.lower(), _CSV)
    text = str(error).strip()
    got = find_broken_line(path, options) or (
        text.splitlines()[0] if text else type(error).__name__
    )
    change = "correct these rows, or save the table again"
    return StudyError(path, [Problem(f"[{role}] table", form.expected, got, change)])


def _make_suffix_problem(key: str, got: str) -> Problem:
    compressions = join_some(COMPRESSION_SUFFIXES)
    expected = f"a file that ends in {join_some(FORMATS)}, or in one of these and {compressions}"
    return Problem(key, expected, got, "save the table in one of these formats")
