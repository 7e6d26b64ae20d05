"""Formats of a report, chosen by an option or by the suffix of its file."""

from enum import StrEnum
from pathlib import Path

from fastif import InputError
from tasks.report.report_marks import (
    START_BYTES,
    TITLE,
    has_json_mark,
    has_markdown_mark,
    has_page_mark,
)
from tasks.study.path_kinds import describe_path


class ReportFormat(StrEnum):
    """Format of a report; its value is the suffix of its file."""

    HTML = "html"
    JSON = "json"
    MARKDOWN = "md"


SUFFIXES = {f".{each}": each for each in ReportFormat} | {".htm": ReportFormat.HTML}
NAMES = {ReportFormat.HTML: "page", ReportFormat.JSON: "JSON", ReportFormat.MARKDOWN: "Markdown"}


def select_format(out: str | None, chosen: str | None) -> ReportFormat:
    """Return the chosen format, else that of the suffix of the file, else HTML.

    Examples:
        >>> select_format("night.md", None)
        <ReportFormat.MARKDOWN: 'md'>

    Raises:
        InputError: The suffix is none of a report, or contradicts the chosen format.
    """
    if out is None:
        return ReportFormat(chosen or ReportFormat.HTML)
    suffix, where = Path(out).suffix, f"--out {out}"
    if Path(out).is_dir():
        name = f"report.{chosen or ReportFormat.HTML}"
        raise InputError(where, "a file", "a folder", f"Write --out {Path(out) / name}.")
    by_suffix = SUFFIXES.get(suffix.lower())
    if chosen and by_suffix != chosen:
        expected = f"a file name that ends in .{chosen}, as --format {chosen} says"
        raise InputError(where, expected, suffix or "no suffix", "Change either of them.")
    if by_suffix is None:
        expected = "a file name that ends in .html, .md or .json"
        raise InputError(where, expected, suffix or "no suffix", "Add one of these suffixes.")
    return by_suffix


def check_page_path(out: str, chosen: str | None = None, title: str = TITLE) -> Path:
    """Validate the path of a report: a new file, or an earlier report, which is replaced.

    Args:
        out: Path of the file.
        chosen: Format; that of the suffix if None.
        title: Start of the title of an HTML page that may be replaced.

    Raises:
        InputError: another suffix, a folder, or a file that is no report of this format.
    """
    kind, path = select_format(out, chosen), Path(out)
    name, where = NAMES[kind], f"--out {out}"
    expected = (
        "a new file, or an earlier report page, which is replaced"
        if kind is ReportFormat.HTML
        else f"a new file, or an earlier report as {name}, which is replaced"
    )
    if path.exists() and describe_path(path):
        raise InputError(where, expected, describe_path(path), "Choose another.")
    if path.exists() and not _is_report(path, kind, title):
        raise InputError(where, expected, "a file with other contents", "Choose another.")
    return path


def _is_report(path: Path, kind: ReportFormat, title: str) -> bool:
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    if kind is ReportFormat.HTML:
        return has_page_mark(start, title)
    return has_markdown_mark(start) if kind is ReportFormat.MARKDOWN else has_json_mark(start)
