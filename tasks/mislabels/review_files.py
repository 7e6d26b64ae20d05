"""Reviewers' files: tables as CSV, TSV or Parquet, and JSON, read row by row or refused."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import polars as pl

from tasks.mislabels.label_studio import (
    READ,
    is_flat_list,
    is_task_list,
    read_annotation,
    read_tasks,
)
from tasks.mislabels.review_records import (
    Cells,
    Reading,
    Record,
    word_of,
)
from tasks.study.errors import (
    Problem,
    StudyError,
    listed,
    show,
)
from tasks.study.path_kinds import what_is

KNOWN = ("right_label", "id", "row", "reviewer", "drawn", "text", "text_pair", "label")
OTHERS = {
    ".zip": "a zip, as Label Studio gives COCO, YOLO, VOC and brush exports in",
    ".conll": "a CONLL2003 export of Label Studio",
    ".xlsx": "an Excel workbook",
    ".xls": "an Excel workbook",
    ".ods": "a workbook",
}
ENDINGS = ".csv, .tsv, .parquet, .json or .jsonl"
AGAIN = "fill in a file of `fastif review export`, or export from Label Studio as " + READ


def read_review(path: Path) -> Reading:
    """Records of a reviewer's file.

    Args:
        path: .csv, .tsv or .txt with commas, semicolons or tabs, .parquet, .json or .jsonl.

    Raises:
        StudyError: the file is none of these, or cannot be read as one.
    """
    kind = path.suffix.lower()
    readers = {".parquet": _parquet, ".json": _json, ".jsonl": _json, ".ndjson": _json}
    readers |= dict.fromkeys((".csv", ".tsv", ".txt"), _table)
    if kind not in readers:
        got = OTHERS.get(kind, show(path.suffix or path.name))
        raise _refusal(path, ENDINGS, got, AGAIN)
    if not path.is_file():
        raise _refusal(path, "a file of verdicts", what_is(path), "correct the path")
    try:
        return readers[kind](path)
    except StudyError:
        raise
    except (OSError, ValueError, RecursionError, csv.Error, pl.exceptions.PolarsError) as error:
        text = str(error).strip()
        got = text.splitlines()[0][:200] if text else type(error).__name__
        raise _refusal(path, "a readable table", got, AGAIN) from None


def _parquet(path: Path) -> Reading:
    frame = pl.read_parquet(path)
    return _rows(path, frame.columns, (row.values() for row in frame.iter_rows(named=True)))


def _json(path: Path) -> Reading:
    text, notes = _decoded(path)
    content = _parsed(path, text)
    if isinstance(content, Mapping):
        names = "COCO" if {"images", "annotations"} <= content.keys() else "one JSON object"
        raise _refusal(path, f"a list of rows or tasks ({READ})", names, AGAIN)
    if not isinstance(content, list) or not content:
        got = "an empty list" if content == [] else show(content, 40)
        raise _refusal(path, f"a list of rows or tasks ({READ})", got, AGAIN)
    odd = next((item for item in content if not isinstance(item, Mapping)), None)
    if odd is not None:
        expected = "a list of objects, one a row or task"
        raise _refusal(path, expected, f"{show(odd, 40)} in the list", AGAIN)
    if is_task_list(content):
        return read_tasks(content).noted(*notes)
    if is_flat_list(content):
        # JSON_MIN has the number of the task where the id was.
        content = [{**row, "id": None} for row in content]
    if any("audio_filepath" in row for row in content):
        raise _refusal(path, READ, "an ASR_MANIFEST export of Label Studio", AGAIN)
    names = list(dict.fromkeys(str(name) for row in content for name in row))
    return _rows(path, names, ([row.get(name) for name in names] for row in content)).noted(*notes)


def _parsed(path: Path, text: str) -> object:
    if path.suffix.lower() == ".json":
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            got = f"line {error.lineno}, column {error.colno}: {error.msg}"
            raise _refusal(path, "JSON", got, AGAIN) from None
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            got = f"line {number}, column {error.colno}: {error.msg}"
            raise _refusal(path, "a JSON object a line", got, AGAIN) from None
    return rows


def _table(path: Path) -> Reading:
    text, notes = _decoded(path)
    csv.field_size_limit(sys.maxsize)  # a text may be long
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep="):
        text = rest
    best = max(",;\t", key=lambda mark: _columns_known(text, mark))
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=best)
    header = [name.strip() for name in next(lines, [])]
    return _rows(path, header, (line for line in lines if any(line))).noted(*notes)


def _columns_known(text: str, mark: str) -> int:
    header = next(csv.reader(io.StringIO(text, newline=""), delimiter=mark), [])
    return len({name.strip().lower() for name in header} & set(KNOWN))


def _decoded(path: Path) -> tuple[str, tuple[str, ...]]:
    """The text of a file in UTF-8 or UTF-16, else in Windows-1252, which is told."""
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16"), ()
    if b"\x00" in content[:200]:
        guess = "utf-16-le" if content[1:2] == b"\x00" else "utf-16-be"
        return content.decode(guess), ()
    try:
        return content.decode("utf-8-sig"), ()
    except UnicodeDecodeError as error:
        note = f"read as Windows-1252, since it is not UTF-8 (byte {error.start})"
        try:
            return content.decode("cp1252"), (note,)
        except UnicodeDecodeError:
            got = f"bytes that are no text at {error.start}"
            raise _refusal(path, "text in UTF-8", got, "save it as UTF-8") from None


def _rows(path: Path, header: Sequence[str], lines: Iterable[Iterable[object]]) -> Reading:
    names = _canonical(path, header)
    annotated = "annotation_id" in names
    records: list[Record] = []
    refused: list[Problem] = []
    for number, line in enumerate(lines, 1):
        values = list(line)
        place = f"row {number}"
        if len(values) > len(names):
            got = f"{len(values)} cells"
            change = "put quotes around cells that hold a separator"
            refused.append(Problem(place, f"{len(names)} cells, as the header has", got, change))
            continue
        raw = dict(zip(names, values, strict=False))
        # A choice of several is an object, and read as such.
        right = raw.get("right_label")
        cells = Cells({name: word_of(value) for name, value in raw.items()})
        record = read_annotation(place, cells, right) if annotated else _record(place, cells)
        (refused if isinstance(record, Problem) else records).append(record)  # type: ignore[arg-type]
    # A column that somebody emptied flags nothing, as one that is gone.
    flagged = any(record.drawn is not None for record in records)
    return Reading(tuple(records), tuple(refused), (), flagged)


def _record(place: str, cells: Cells) -> Record:
    right, who = cells["right_label"], cells["reviewer"] or cells["annotator"] or ""
    row, name = cells["row"], cells["id"]
    return Record(place, right, who, row, name, cells.texts(), cells["label"], cells["drawn"])


def _canonical(path: Path, header: Sequence[str]) -> list[str]:
    """Names of columns, ours in small letters whatever their case."""
    names = [name.lower() if name.lower() in KNOWN else name for name in header]
    twice = [name for name in names if name in KNOWN and names.count(name) > 1]
    if twice:
        change = "remove one of them"
        raise _refusal(path, f"one column {twice[0]}", f"{names.count(twice[0])}", change)
    if "right_label" not in names or not {"id", "row", "text"} & set(names):
        got = listed(map(show, names)) or "none"
        expected = "id and right_label (or row, or text, in place of id)"
        raise StudyError(path, [Problem("columns", expected, got, AGAIN)])
    return names


def _refusal(path: Path, expected: str, got: str, change: str) -> StudyError:
    return StudyError(path, [Problem("file", expected, got, change)])
