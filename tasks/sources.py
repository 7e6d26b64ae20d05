"""Opening the table a study names: a Parquet, CSV or JSON Lines file, or a data set by name.

Nothing here looks at the content; `tasks.tables` does.
"""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from polars.exceptions import PolarsError

from tasks.problems import Problem, StudyError, did_you_mean, listed, show
from tasks.sections import TableSource

if TYPE_CHECKING:
    from datasets import Dataset


ROW = "__row__"
"""The added column with the row number as a person counts: data rows from 1."""


@dataclass(frozen=True)
class Opened:
    """What was read, and the name by which messages call it.

    `frame` has the wanted columns that exist, and ROW. `class_names` holds, for columns in which a
    data set keeps labels as numbers with names, those names in the order of the numbers.
    """

    place: str
    available: list[str]
    frame: pl.DataFrame
    class_names: dict[str, list[str]]


def open_source(source: TableSource, wanted: Sequence[str], folder: Path, role: str) -> Opened:
    """Read the wanted columns of a source; `role` is its section, train or queries.

    Raises:
        StudyError: the file or data set is not there or cannot be read.
    """
    if source.table is not None:
        return _open_file(folder / source.table, wanted, f"[{role}] table")
    return _open_dataset(source, wanted, folder, role)


def _parquet(path: Path) -> pl.LazyFrame:
    rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    return rows.with_row_index(ROW, 1)


def _csv(path: Path) -> pl.LazyFrame:
    # Everything is text: an id of 007 stays as it is. A blank line is no row, but is counted.
    rows = pl.scan_csv(path, glob=False, infer_schema=False).with_row_index(ROW, 1)
    return rows.filter(~pl.all_horizontal(pl.exclude(ROW).is_null()))


def _json_lines(path: Path) -> pl.LazyFrame:
    with path.open("rb") as file:
        return pl.read_ndjson(file, infer_schema_length=None).lazy().with_row_index(ROW, 1)


_READERS: dict[str, tuple[str, Callable[[Path], pl.LazyFrame]]] = {
    ".parquet": ("a Parquet file", _parquet),
    ".csv": ("a CSV file in UTF-8, with a header line", _csv),
    ".jsonl": ("JSON Lines in UTF-8, one object a line", _json_lines),
}


def _open_file(path: Path, wanted: Sequence[str], key: str) -> Opened:
    if path.suffix.lower() not in _READERS:
        expected = f"a file that ends in {listed(_READERS)}"
        change = "save the table in one of these formats"
        raise StudyError(path, [Problem(key, expected, show(path.name), change)])
    if not path.is_file():
        raise StudyError(path, [_missing_file(key, path)])
    expected, reader = _READERS[path.suffix.lower()]
    if path.stat().st_size == 0:
        got = "an empty file (0 bytes)"
        raise StudyError(path, [Problem(key, expected, got, "write the rows into it")])
    try:
        rows = reader(path)
        available = [name for name in rows.collect_schema().names() if name != ROW]
        frame = rows.select(ROW, *(name for name in available if name in wanted)).collect()
    except (PolarsError, OSError, ValueError) as error:
        got = _first_broken_line(path) or str(error).splitlines()[0]
        change = "correct these rows, or save the table again"
        raise StudyError(path, [Problem(key, expected, got, change)]) from None
    return Opened(str(path), available, frame, {})


def _missing_file(key: str, path: Path) -> Problem:
    if not path.parent.is_dir():
        got = f"no folder {path.parent}"
        return Problem(key, "a file", got, "correct the path; it starts from the study's folder")
    names = [p.name for p in path.parent.iterdir() if p.suffix.lower() in _READERS]
    hint = did_you_mean(path.name, names) or "correct the path; it starts from the study's folder"
    got = "a folder" if path.is_dir() else "nothing there"
    return Problem(key, "a file", got, hint)


def _first_broken_line(path: Path) -> str:
    """The place a text format breaks at, found by a slow reader once the fast one has failed."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".jsonl":
                return _broken_json(file)
            if path.suffix.lower() == ".csv":
                return _broken_csv(file)
    except UnicodeDecodeError as error:
        return f"text that is not UTF-8 ({error.reason})"
    except (OSError, csv.Error):
        pass
    return ""


def _broken_json(lines: Any) -> str:
    blank = True
    for number, line in enumerate(lines, 1):
        blank = blank and not line.strip()
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f"line {number}: no JSON object"
        except json.JSONDecodeError as error:
            return f"line {number}, column {error.colno}: {error.msg}"
    return "no rows in it" if blank else ""


def _broken_csv(lines: Any) -> str:
    reader = csv.reader(lines, strict=True)
    header = next(reader, [])
    for number, cells in enumerate(reader, 1):
        if len(cells) > len(header):
            return f"row {number}: {len(cells)} cells for {len(header)} columns"
    return ""


def _open_dataset(source: TableSource, wanted: Sequence[str], folder: Path, role: str) -> Opened:
    """A data set of the `datasets` library: saved to a folder, a folder of files, or a hub name.

    Code that comes with a data set is never run.
    """
    name, key = str(source.dataset), f"[{role}] dataset"
    try:
        import datasets
    except ImportError:
        change = "pip install datasets, or save the table as .parquet and name it as table"
        got = "it is not installed"
        problem = Problem(key, "the `datasets` library", got, change)
        raise StudyError(name, [problem]) from None
    local = folder / name
    try:
        if local.is_dir() and _was_saved(local):
            found = datasets.load_from_disk(str(local))
        else:
            place = str(local) if local.is_dir() else name
            found = datasets.load_dataset(place, source.config)
        rows = _split(found, source, role)
        # Only columns that are asked for are read: others may hold images or sound.
        present = [column for column in rows.column_names if column in wanted]
        frame = pl.DataFrame(rows.select_columns(present).with_format("arrow")[:])
    except StudyError:
        raise
    except Exception as error:  # a foreign library at its network edge: any class may come
        raise StudyError(name, [_unreachable(key, error)]) from None
    names = {
        column: list(feature.names)
        for column, feature in rows.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    place = f"{name}, split {rows.split}" if rows.split else name
    return Opened(place, list(rows.column_names), frame.with_row_index(ROW, 1), names)


def _was_saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _split(found: Any, source: TableSource, role: str) -> "Dataset":
    """The split that is asked for; without a question the only one."""
    if not isinstance(found, dict):
        if found.split is None:  # made without a split, so it has only itself to offer
            return found
        found = {str(found.split): found}
    if source.split is None and len(found) == 1:
        return next(iter(found.values()))
    if source.split in found:
        return found[source.split]
    expected = f"one of {listed(found)}"
    got = "nothing" if source.split is None else show(source.split)
    hint = did_you_mean(source.split or "", found) or f'add split = "{next(iter(found))}"'
    raise StudyError(str(source.dataset), [Problem(f"[{role}] split", expected, got, hint)])


def _unreachable(key: str, error: Exception) -> Problem:
    got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason'}"
    change = (
        "check the name and the network; offline, name a folder made by save_to_disk, "
        "or save the rows as .parquet and name them as table"
    )
    return Problem(key, "a data set that can be loaded", got, change)
