"""Location of a syntax error in a text table or JSON Lines file, by a slow second pass."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

from tasks.data.file_content import open_content
from tasks.data.read_options import ReadOptions
from tasks.data.text_content import read_text
from tasks.data.text_tables import DEFAULT_SEPARATORS, find_separator
from tasks.data.undecided import UndecidedError


def find_broken_line(path: Path, options: ReadOptions) -> str:
    """Return line and reason of the first syntax error of a file; empty if none is recognised."""
    try:
        content = open_content(path)
        if content.suffix in (".jsonl", ".ndjson"):
            return _find_broken_json(_read_lines(read_text(content, options.encoding).data))
        if content.suffix in DEFAULT_SEPARATORS:
            text = read_text(content, options.encoding)
            return _find_broken_row(_read_lines(text.data), find_separator(text, content, options))
    except UndecidedError as error:
        return error.got
    except (OSError, ValueError, csv.Error):
        pass
    except RecursionError:
        return "a value that is nested too deeply"
    return ""


def _read_lines(data: bytes) -> io.StringIO:
    return io.StringIO(data.decode(), newline="")


def _find_broken_json(lines: Iterable[str]) -> str:
    blank = True
    for number, line in enumerate(lines, 1):
        blank = blank and not line.strip()
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f"line {number}: not a JSON object"
        except json.JSONDecodeError as error:
            return f"line {number}, column {error.colno}: {error.msg}"
    return "a file without rows" if blank else ""


def _find_broken_row(lines: Iterable[str], separator: str) -> str:
    reader = csv.reader(lines, strict=True, delimiter=separator)
    header = next(reader, [])
    for number, cells in enumerate(reader, 1):
        if len(cells) > len(header):
            return f"row {number}: {len(cells)} cells for {len(header)} columns"
    return ""
