"""Location of a syntax error in a CSV or JSON Lines file, by a slow second pass."""

import csv
import json
from pathlib import Path
from typing import Any


def find_broken_line(path: Path) -> str:
    """Return line and reason of the first syntax error of a file; empty if none is recognised."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".jsonl":
                return _find_broken_json(file)
            if path.suffix.lower() == ".csv":
                return _find_broken_csv(file)
    except UnicodeDecodeError as error:
        return f"text that is not UTF-8 ({error.reason})"
    except (OSError, csv.Error):
        pass
    except RecursionError:
        return "a value that is nested too deeply"
    return ""


def _find_broken_json(lines: Any) -> str:
    blank = True
    for number, line in enumerate(lines, 1):
        blank = blank and not line.strip()
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f"line {number}: not a JSON object"
        except json.JSONDecodeError as error:
            return f"line {number}, column {error.colno}: {error.msg}"
    return "a file without rows" if blank else ""


def _find_broken_csv(lines: Any) -> str:
    reader = csv.reader(lines, strict=True)
    header = next(reader, [])
    for number, cells in enumerate(reader, 1):
        if len(cells) > len(header):
            return f"row {number}: {len(cells)} cells for {len(header)} columns"
    return ""
