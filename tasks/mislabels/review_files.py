"""Parsing of review files: CSV, TSV, workbooks, Parquet and JSON, row by row."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from tasks.data.file_content import open_content
from tasks.data.file_scanners import ROW
from tasks.data.read_options import ReadOptions
from tasks.data.separators import detect_separator, read_separator_line
from tasks.data.text_encoding import CODE_PAGE, DISPLAY_NAMES, decode_text, detect_encoding
from tasks.data.text_tables import DEFAULT_SEPARATORS
from tasks.data.undecided import UndecidedError
from tasks.data.workbooks import EXTRA, MissingReaderError, scan_workbook
from tasks.mislabels.label_studio import (
    EXPORT_FORMATS,
    is_flat_list,
    is_task_list,
    parse_annotation,
    parse_tasks,
)
from tasks.mislabels.review_records import (
    ReviewFile,
    ReviewRecord,
    RowCells,
    format_cell,
)
from tasks.study.errors import (
    Problem,
    StudyError,
    format_value,
    join_some,
)
from tasks.study.path_kinds import describe_path

KNOWN_COLUMNS = ("right_label", "id", "row", "reviewer", "drawn", "text", "text_pair", "label")
UNSUPPORTED = {
    ".zip": "a zip archive, as of Label Studio's COCO, YOLO, VOC and brush exports",
    ".conll": "a CONLL2003 export of Label Studio",
}
WORKBOOKS = (".xlsx", ".xls", ".ods")
REQUIRED = ("right_label",)
SUFFIXES = ".csv, .tsv, .parquet, .json, .jsonl or .xlsx"
EXPORT_HINT = (
    "fill in a file of `fastif review export`, or export from Label Studio as " + EXPORT_FORMATS
)


def read_review(path: Path) -> ReviewFile:
    """Read the records of a review file.

    Args:
        path: .csv, .tsv or .txt of any separator, a workbook, .parquet, .json or .jsonl.

    Raises:
        StudyError: The format is unknown, or the file cannot be read.
    """
    kind = path.suffix.lower()
    readers = {
        ".parquet": _read_parquet,
        ".json": _read_json,
        ".jsonl": _read_json,
        ".ndjson": _read_json,
    }
    readers |= dict.fromkeys((".csv", ".tsv", ".txt"), _read_csv)
    readers |= dict.fromkeys(WORKBOOKS, _read_workbook)
    if kind not in readers:
        got = UNSUPPORTED.get(kind, format_value(path.suffix or path.name))
        raise _make_file_error(path, SUFFIXES, got, EXPORT_HINT)
    if not path.is_file():
        raise _make_file_error(path, "a review file", describe_path(path), "correct the path")
    try:
        return readers[kind](path)
    except StudyError:
        raise
    except MissingReaderError as error:
        got = f"an Excel workbook, but {error}"
        raise _make_file_error(path, "a readable table", got, EXTRA) from None
    except UndecidedError as error:
        change = "save the file as CSV in UTF-8, with commas"
        expected = f"a readable table, {error.expected}"
        raise _make_file_error(path, expected, error.got, change) from None
    except (OSError, ValueError, RecursionError, csv.Error, pl.exceptions.PolarsError) as error:
        text = str(error).strip()
        got = text.splitlines()[0][:200] if text else type(error).__name__
        raise _make_file_error(path, "a readable table", got, EXPORT_HINT) from None


def _read_parquet(path: Path) -> ReviewFile:
    frame = pl.read_parquet(path)
    return _parse_rows(path, frame.columns, (row.values() for row in frame.iter_rows(named=True)))


def _read_json(path: Path) -> ReviewFile:
    text, notes = _decode(path)
    content = _parse_json(path, text)
    if isinstance(content, Mapping):
        names = "COCO" if {"images", "annotations"} <= content.keys() else "one JSON object"
        raise _make_file_error(
            path, f"a list of rows or tasks ({EXPORT_FORMATS})", names, EXPORT_HINT
        )
    if not isinstance(content, list) or not content:
        got = "an empty list" if content == [] else format_value(content, 40)
        raise _make_file_error(
            path, f"a list of rows or tasks ({EXPORT_FORMATS})", got, EXPORT_HINT
        )
    unexpected = next((item for item in content if not isinstance(item, Mapping)), None)
    if unexpected is not None:
        expected = "a list of objects, one a row or task"
        raise _make_file_error(
            path, expected, f"{format_value(unexpected, 40)} in the list", EXPORT_HINT
        )
    if is_task_list(content):
        return parse_tasks(content).add_notes(*notes)
    if is_flat_list(content):
        # In JSON_MIN the column `id` is the task number.
        content = [{**row, "id": None} for row in content]
    if any("audio_filepath" in row for row in content):
        raise _make_file_error(
            path, EXPORT_FORMATS, "an ASR_MANIFEST export of Label Studio", EXPORT_HINT
        )
    names = list(dict.fromkeys(str(name) for row in content for name in row))
    return _parse_rows(
        path, names, ([row.get(name) for name in names] for row in content)
    ).add_notes(*notes)


def _parse_json(path: Path, text: str) -> object:
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            got = f"line {error.lineno}, column {error.colno}: {error.msg}"
            raise _make_file_error(path, "JSON", got, EXPORT_HINT) from None
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            got = f"line {number}, column {error.colno}: {error.msg}"
            raise _make_file_error(path, "a JSON object a line", got, EXPORT_HINT) from None
    return rows


def _read_csv(path: Path) -> ReviewFile:
    text, notes = _decode(path)
    csv.field_size_limit(sys.maxsize)  # a text may be long
    delimiter = read_separator_line(text)
    if delimiter:
        text = text.partition("\n")[2]
    else:
        default = DEFAULT_SEPARATORS.get(path.suffix.lower(), ",")
        delimiter = detect_separator(text.lower(), REQUIRED, default, is_whole=True)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip() for name in next(lines, [])]
    return _parse_rows(path, header, (line for line in lines if any(line))).add_notes(*notes)


def _read_workbook(path: Path) -> ReviewFile:
    frame = scan_workbook(open_content(path), ReadOptions()).rows.drop(ROW).collect()
    return _parse_rows(path, frame.columns, frame.iter_rows())


def _decode(path: Path) -> tuple[str, tuple[str, ...]]:
    """Decode the text of a file, with a note if it is not in Unicode."""
    content = path.read_bytes()
    encoding = detect_encoding(content)
    note = f"read as {DISPLAY_NAMES.get(encoding)}, since it is not UTF-8"
    return decode_text(content, encoding), (note,) if encoding == CODE_PAGE else ()


def _parse_rows(path: Path, header: Sequence[str], lines: Iterable[Iterable[object]]) -> ReviewFile:
    names = _normalize_header(path, header)
    annotated = "annotation_id" in names
    records: list[ReviewRecord] = []
    refused: list[Problem] = []
    for number, line in enumerate(lines, 1):
        values = list(line)
        place = f"row {number}"
        if len(values) > len(names):
            got = f"{len(values)} cells"
            change = "quote cells that contain the separator"
            refused.append(Problem(place, f"{len(names)} cells, as in the header", got, change))
            continue
        raw = dict(zip(names, values, strict=False))
        # Several choices are an object, which must not be converted to text.
        right = raw.get("right_label")
        cells = RowCells({name: format_cell(value) for name, value in raw.items()})
        record = parse_annotation(place, cells, right) if annotated else _make_record(place, cells)
        (refused if isinstance(record, Problem) else records).append(record)  # type: ignore[arg-type]
    # An empty flag column is equivalent to a missing one.
    flagged = any(record.drawn is not None for record in records)
    return ReviewFile(tuple(records), tuple(refused), (), flagged)


def _make_record(place: str, cells: RowCells) -> ReviewRecord:
    right, reviewer = cells["right_label"], cells["reviewer"] or cells["annotator"] or ""
    row, name = cells["row"], cells["id"]
    return ReviewRecord(
        place, right, reviewer, row, name, cells.read_texts(), cells["label"], cells["drawn"]
    )


def _normalize_header(path: Path, header: Sequence[str]) -> list[str]:
    """Column names, with the known ones in lower case."""
    names = [name.lower() if name.lower() in KNOWN_COLUMNS else name for name in header]
    duplicates = [name for name in names if name in KNOWN_COLUMNS and names.count(name) > 1]
    if duplicates:
        change = "remove one of them"
        raise _make_file_error(
            path, f"one column {duplicates[0]}", f"{names.count(duplicates[0])}", change
        )
    if "right_label" not in names or not {"id", "row", "text"} & set(names):
        got = join_some(map(format_value, names)) or "none"
        expected = "id and right_label (or row, or text, in place of id)"
        raise StudyError(path, [Problem("columns", expected, got, EXPORT_HINT)])
    return names


def _make_file_error(path: Path, expected: str, got: str, change: str) -> StudyError:
    return StudyError(path, [Problem("file", expected, got, change)])
