"""Marks at the start of a report's file, by which an earlier report is recognized."""

TITLE = "<title>Data quality of "
"""Start of the title of a page."""
HISTORY_TITLE = "<title>Data quality over runs of "
"""Start of the title of a page of the last runs."""
HEADS = ("# Data quality, run ", "# Data quality, labels-")
"""Starts of a report as Markdown, about a run and about labels alone."""
JSON_MARK = "fastif_report"
"""First key of a report as JSON; its value is a version."""
START_BYTES = 4096
"""Length of the start of a file in which its mark is."""


def has_page_mark(start: bytes, title: str = TITLE) -> bool:
    """Return whether an HTML file begins as a report with this start of its title.

    Examples:
        >>> has_page_mark(b"<!doctype html><title>Data quality of nli"), has_page_mark(b"<html>")
        (True, False)

    Args:
        start: First `START_BYTES` bytes of the file.
        title: Start of the title.
    """
    return start.lstrip().startswith(b"<!doctype html>") and title.encode() in start


def has_markdown_mark(start: bytes) -> bool:
    """Return whether a Markdown file begins as a report."""
    return start.lstrip().startswith(tuple(head.encode() for head in HEADS))


def has_json_mark(start: bytes) -> bool:
    """Return whether a JSON file begins as a report."""
    return start.lstrip().removeprefix(b"{").lstrip().startswith(f'"{JSON_MARK}":'.encode())
