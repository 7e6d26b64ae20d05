"""Four rows as a file of each format, their table, and the error of an invalid file."""

from pathlib import Path

import polars as pl
import pytest

from tasks.data.dataset import Table, read_table
from tasks.study.errors import StudyError
from tasks.study.sections import TableSource

FORMATS = ("parquet", "csv", "jsonl")
LABELS = ("neg", "pos")


ROWS = {
    "id": ["a", "b", "007", "d"],
    "text": ["fine", 'she said "no", twice', "two\nlines", " caf\u00e9 "],
    "label": ["pos", "neg", "neg", "pos"],
    "genre": ["x", None, "y", "x"],
}


def save_table(folder: Path, suffix: str, columns: dict, name: str = "rows") -> TableSource:
    """Write the columns to a file of this format; return its section."""
    frame, path = pl.DataFrame(columns), folder / f"{name}.{suffix}"
    if suffix == "parquet":
        frame.write_parquet(path)
    elif suffix == "csv":
        frame.write_csv(path)
    else:
        frame.write_ndjson(path)
    return make_source(path.name)


def make_source(table: str, **keys) -> TableSource:
    return TableSource(**{"text": "text", "label": "label", "id": "id", "table": table} | keys)


def read(source: TableSource, folder: Path, labels=LABELS) -> Table:
    return read_table(source, labels, folder, "train")


def refusal(source: TableSource, folder: Path, labels=LABELS) -> StudyError:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(StudyError) as caught:
        read(source, folder, labels)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert (source.table or source.dataset) in str(caught.value)
    assert all(p.where and p.expected and p.got and p.remedy for p in caught.value.problems)
    return caught.value


def single_problem(error: StudyError):
    assert len(error.problems) == 1, str(error)
    return error.problems[0]
