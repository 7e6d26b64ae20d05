"""Opening the table a study names: a Parquet, CSV or JSON Lines file, or a data set by name.

Nothing here looks at the content; `tasks.data.dataset` does.
"""

import codecs
import csv
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq
from polars.exceptions import PanicException, PolarsError
from pyarrow import ArrowException

from tasks.study.errors import (
    Problem,
    StudyError,
    did_you_mean,
    listed,
    show,
)
from tasks.study.fields import HUB
from tasks.study.path_kinds import what_is
from tasks.study.sections import TableSource
from tasks.study.spelling import composed

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
    _check_extent(path)
    rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    return rows.with_row_index(ROW, 1)


def _check_extent(path: Path) -> None:
    """Refuse a footer that points beyond the file, at which the fast reader would panic.

    Raises:
        ValueError: it does, or it is none.
    """
    footer, size = pq.read_metadata(path), path.stat().st_size
    for group in range(footer.num_row_groups):
        for column in range(footer.num_columns):
            chunk = footer.row_group(group).column(column)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            if not 0 <= start <= start + chunk.total_compressed_size <= size:
                raise ValueError(f"column {chunk.path_in_schema} ends beyond the file: it is cut")


def _csv(path: Path) -> pl.LazyFrame:
    # Everything is text: an id of 007 stays as it is. A blank line is no row, but is counted.
    _check_header(path)
    rows = pl.scan_csv(path, glob=False, infer_schema=False).with_row_index(ROW, 1)
    return rows.filter(~pl.all_horizontal(pl.exclude(ROW).is_null()))


def _check_header(path: Path) -> None:
    """Refuse two columns of one name, of which the reader would rename the second.

    Raises:
        ValueError: naming it.
    """
    first = pl.scan_csv(path, glob=False, infer_schema=False, has_header=False, n_rows=1).collect()
    names = [name for name in first.row(0) if name] if first.height else []
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"more than one column {show(twice[0])}")


def _json_lines(path: Path) -> pl.LazyFrame:
    text = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        _check_keys(number, line)
    for number, line in enumerate(lines, 1):
        if _HALF.search(line):  # the reader would put another character in its place
            _check_line(number, line)
    return pl.read_ndjson(BytesIO(text), infer_schema_length=None).lazy().with_row_index(ROW, 1)


def _check_keys(number: int, line: bytes) -> None:
    """Refuse a key that a row has twice, of which the reader would take one.

    Raises:
        ValueError: naming it.
    """

    def refuse_twice(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = min(name for name in names if names.count(name) > 1)
            raise ValueError(f"line {number}: more than one key {show(twice)}")

    with suppress(json.JSONDecodeError, UnicodeDecodeError, RecursionError):  # told by the reader
        json.loads(line, object_pairs_hook=refuse_twice)


_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a character beyond U+FFFF; two make one."""


def _check_line(number: int, line: bytes) -> None:
    text = json.dumps(json.loads(line), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"line {number}: half of a character (a lone \\u escape)") from None


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
    _check_there(path, key)
    expected, reader = _READERS[path.suffix.lower()]
    if path.stat().st_size == 0:
        got = "an empty file (0 bytes)"
        raise StudyError(path, [Problem(key, expected, got, "write the rows into it")])
    if _is_utf_16(path):
        raise StudyError(path, [Problem(key, expected, "UTF-16", "save the file as UTF-8")])
    try:
        rows = reader(path)
        names = [name for name in rows.collect_schema().names() if name != ROW]
        frame = rows.select(ROW, *(name for name in names if composed(name) in wanted)).collect()
        frame = frame.rename(_spelled(frame.columns))
    except (PolarsError, PanicException, ArrowException, OSError, ValueError) as error:
        got = _first_broken_line(path) or str(error).splitlines()[0]
        change = "correct these rows, or save the table again"
        raise StudyError(path, [Problem(key, expected, got, change)]) from None
    return Opened(str(path), list(map(composed, names)), frame, {})


def _spelled(names: Sequence[str]) -> dict[str, str]:
    """Each column's name -> as it is compared.

    Raises:
        ValueError: two are the same name in two Unicode forms.
    """
    spelled = {name: composed(name) for name in names}
    if len(set(spelled.values())) < len(spelled):
        raise ValueError(f"columns that are one in Unicode's form NFC: {listed(spelled)}")
    return spelled


def _is_utf_16(path: Path) -> bool:
    """Whether a file of text begins as UTF-16 does: with its mark, or every other byte zero."""
    with path.open("rb") as file:
        head = file.read(64)
    if path.suffix.lower() == ".parquet" or len(head) < 4:
        return False
    return head[:2] in _UTF_16 or not any(head[::2]) or not any(head[1::2])


_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _check_there(path: Path, key: str) -> None:
    try:
        there = path.is_file() and os.access(path, os.R_OK)
        got = "a file that may not be read" if path.is_file() else ""
    except OSError as error:  # a name that is too long, say
        there, got = False, error.strerror or str(error)
    if not there:
        other = Problem(key, "a file", got, "correct the path, or its permissions")
        raise StudyError(path, [other if got else _missing_file(key, path)])


def _missing_file(key: str, path: Path) -> Problem:
    if not path.parent.is_dir():
        got = f"no folder {path.parent}"
        return Problem(key, "a file", got, "correct the path; it starts from the study's folder")
    names = [p.name for p in path.parent.iterdir() if p.suffix.lower() in _READERS and p.is_file()]
    hint, got = "", what_is(path)
    if got == "nothing there":
        hint = did_you_mean(path.name, names)
    return Problem(
        key, "a file", got, hint or "correct the path; it starts from the study's folder"
    )


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
    except RecursionError:
        return "a value that is nested too deep"
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
    """A data set of the `datasets` library: saved to a folder, a folder of files, or of the hub.

    Only a name after `hub:` is looked up there: a path that is mistyped is refused.

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
    if not local.is_dir() and not name.startswith(HUB):
        change = f'correct the path; a data set of the Hugging Face hub is written "{HUB}{name}"'
        problem = Problem(key, "a folder with a data set", f"no folder {local}", change)
        raise StudyError(name, [problem])
    try:
        if local.is_dir() and _was_saved(local):
            found = datasets.load_from_disk(str(local))
        else:
            place = str(local) if local.is_dir() else name.removeprefix(HUB)
            found = datasets.load_dataset(place, source.config)
        rows = _split(found, source, role)
        # Only columns that are asked for are read: others may hold images or sound.
        present = [column for column in rows.column_names if composed(column) in wanted]
        frame = pl.DataFrame(rows.select_columns(present).with_format("arrow")[:])
        frame = frame.rename(_spelled(frame.columns))
    except StudyError:
        raise
    except Exception as error:  # a foreign library at its network edge: any class may come
        raise StudyError(name, [_unreachable(key, error)]) from None
    names = {
        composed(column): list(feature.names)
        for column, feature in rows.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    place = f"{name}, split {rows.split}" if rows.split else name
    available = list(map(composed, rows.column_names))
    return Opened(place, available, frame.with_row_index(ROW, 1), names)


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
