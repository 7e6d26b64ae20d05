"""Where a text format breaks, found by a slow reader once the fast one has failed."""

import csv
import json
from pathlib import Path
from typing import Any


def find_broken_line(path: Path) -> str:
    """The place a text format breaks at, found by a slow reader once the fast one has failed."""
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
        return "a value that is nested too deep"
    return ""


def _find_broken_json(lines: Any) -> str:
    blank = True
    for number, line in enumerate(lines, 1):
        blank = blank and not line.strip()
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f"line {number}: no JSON object"
        except json.JSONDecodeError as error:
            return f"line {number}, column {error.colno}: {error.msg}"
    return "no rows in it" if blank else ""


def _find_broken_csv(lines: Any) -> str:
    reader = csv.reader(lines, strict=True)
    header = next(reader, [])
    for number, cells in enumerate(reader, 1):
        if len(cells) > len(header):
            return f"row {number}: {len(cells)} cells for {len(header)} columns"
    return ""
