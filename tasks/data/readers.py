"""Reading of a study's table from a Parquet, CSV or JSON Lines file, or by the `datasets` library.

The content is validated in `tasks.data.dataset`.
"""

import codecs
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from polars.exceptions import PanicException, PolarsError
from pyarrow import ArrowException

from tasks.data.broken_lines import find_broken_line
from tasks.data.file_scanners import ROW, scan_csv, scan_json_lines, scan_parquet
from tasks.study.errors import (
    Problem,
    StudyError,
    format_value,
    join_some,
    suggest,
)
from tasks.study.fields import HUB
from tasks.study.path_kinds import describe_path
from tasks.study.sections import TableSource
from tasks.study.spelling import normalize_nfc

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class RawTable:
    """Columns that were read from a source.

    Attributes:
        place: Name of the source for messages.
        available: Names of all columns of the source.
        frame: Wanted columns that exist, and ROW.
        class_names: Names of the classes, by column, for `datasets` columns with class labels.
    """

    place: str
    available: list[str]
    frame: pl.DataFrame
    class_names: dict[str, list[str]]


def read_source(source: TableSource, wanted: Sequence[str], folder: Path, role: str) -> RawTable:
    """Read columns of a source.

    Args:
        source: Section of the study.
        wanted: Names of the columns to read.
        folder: Folder from which relative paths start.
        role: Name of the section, train or queries, for messages.

    Raises:
        StudyError: the file or data set does not exist or cannot be read.
    """
    if source.table is not None:
        return _read_file(folder / source.table, wanted, f"[{role}] table")
    return _read_dataset(source, wanted, folder, role)


_READERS: dict[str, tuple[str, Callable[[Path], pl.LazyFrame]]] = {
    ".parquet": ("a Parquet file", scan_parquet),
    ".csv": ("a CSV file in UTF-8, with a header line", scan_csv),
    ".jsonl": ("JSON Lines in UTF-8, one object per line", scan_json_lines),
}


def _read_file(path: Path, wanted: Sequence[str], key: str) -> RawTable:
    if path.suffix.lower() not in _READERS:
        expected = f"a file that ends in {join_some(_READERS)}"
        change = "save the table in one of these formats"
        raise StudyError(path, [Problem(key, expected, format_value(path.name), change)])
    _check_readable(path, key)
    expected, reader = _READERS[path.suffix.lower()]
    if path.stat().st_size == 0:
        got = "an empty file (0 bytes)"
        raise StudyError(path, [Problem(key, expected, got, "write the rows to the file")])
    if _is_utf_16(path):
        raise StudyError(path, [Problem(key, expected, "UTF-16", "save the file as UTF-8")])
    try:
        rows = reader(path)
        names = [name for name in rows.collect_schema().names() if name != ROW]
        frame = rows.select(
            ROW, *(name for name in names if normalize_nfc(name) in wanted)
        ).collect()
        frame = frame.rename(_normalize_columns(frame.columns))
    except (PolarsError, PanicException, ArrowException, OSError, ValueError) as error:
        got = find_broken_line(path) or str(error).splitlines()[0]
        change = "correct these rows, or save the table again"
        raise StudyError(path, [Problem(key, expected, got, change)]) from None
    return RawTable(str(path), list(map(normalize_nfc, names)), frame, {})


def _normalize_columns(names: Sequence[str]) -> dict[str, str]:
    """Names of the columns mapped to their Unicode form NFC.

    Raises:
        ValueError: two columns have the same name in this form.
    """
    normalized = {name: normalize_nfc(name) for name in names}
    if len(set(normalized.values())) < len(normalized):
        raise ValueError(f"columns with equal names in Unicode form NFC: {join_some(normalized)}")
    return normalized


def _is_utf_16(path: Path) -> bool:
    """Whether a text file starts like UTF-16: with its byte order mark, or alternate zero bytes."""
    with path.open("rb") as file:
        head = file.read(64)
    if path.suffix.lower() == ".parquet" or len(head) < 4:
        return False
    return head[:2] in _UTF_16 or not any(head[::2]) or not any(head[1::2])


_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _check_readable(path: Path, key: str) -> None:
    try:
        is_readable = path.is_file() and os.access(path, os.R_OK)
        got = "a file without read permission" if path.is_file() else ""
    except OSError as error:  # such as a name that is too long
        is_readable, got = False, error.strerror or str(error)
    if not is_readable:
        problem = Problem(key, "a file", got, "correct the path, or its permissions")
        raise StudyError(path, [problem if got else _explain_missing_file(key, path)])


def _explain_missing_file(key: str, path: Path) -> Problem:
    if not path.parent.is_dir():
        got = f"no folder {path.parent}"
        return Problem(key, "a file", got, "correct the path; it is relative to the study file")
    names = [p.name for p in path.parent.iterdir() if p.suffix.lower() in _READERS and p.is_file()]
    hint, got = "", describe_path(path)
    if got == "no such file":
        hint = suggest(path.name, names)
    return Problem(key, "a file", got, hint or "correct the path; it is relative to the study file")


def _read_dataset(source: TableSource, wanted: Sequence[str], folder: Path, role: str) -> RawTable:
    """Read a data set by the `datasets` library: saved to a folder, a folder of files, or a hub.

    Only names with the prefix `hub:` are looked up on the hub, so that a mistyped path is refused.
    Code of a data set is never executed.
    """
    name, key = str(source.dataset), f"[{role}] dataset"
    try:
        import datasets
    except ImportError:
        change = "pip install datasets, or save the rows as .parquet and use the key table"
        got = "it is not installed"
        problem = Problem(key, "the `datasets` library", got, change)
        raise StudyError(name, [problem]) from None
    local = folder / name
    if not local.is_dir() and not name.startswith(HUB):
        change = f'correct the path; for a data set of the Hugging Face hub write "{HUB}{name}"'
        problem = Problem(key, "a folder with a data set", f"no folder {local}", change)
        raise StudyError(name, [problem])
    try:
        if local.is_dir() and _is_saved_dataset(local):
            dataset = datasets.load_from_disk(str(local))
        else:
            place = str(local) if local.is_dir() else name.removeprefix(HUB)
            dataset = datasets.load_dataset(place, source.config)
        rows = _select_split(dataset, source, role)
        # Only the wanted columns are read, since others can hold images or sound.
        present = [column for column in rows.column_names if normalize_nfc(column) in wanted]
        frame = pl.DataFrame(rows.select_columns(present).with_format("arrow")[:])
        frame = frame.rename(_normalize_columns(frame.columns))
    except StudyError:
        raise
    except Exception as error:  # the library can raise any exception, also of the network
        raise StudyError(name, [_explain_load_error(key, error)]) from None
    names = {
        normalize_nfc(column): list(feature.names)
        for column, feature in rows.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    place = f"{name}, split {rows.split}" if rows.split else name
    available = list(map(normalize_nfc, rows.column_names))
    return RawTable(place, available, frame.with_row_index(ROW, 1), names)


def _is_saved_dataset(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _select_split(dataset: Any, source: TableSource, role: str) -> "Dataset":
    """Select the split of the study, or the only one."""
    if not isinstance(dataset, dict):
        if dataset.split is None:  # it was created without splits
            return dataset
        dataset = {str(dataset.split): dataset}
    if source.split is None and len(dataset) == 1:
        return next(iter(dataset.values()))
    if source.split in dataset:
        return dataset[source.split]
    expected = f"one of {join_some(dataset)}"
    got = "nothing" if source.split is None else format_value(source.split)
    hint = suggest(source.split or "", dataset) or f'add split = "{next(iter(dataset))}"'
    raise StudyError(str(source.dataset), [Problem(f"[{role}] split", expected, got, hint)])


def _explain_load_error(key: str, error: Exception) -> Problem:
    got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    change = (
        "check the name and the network; offline, use a folder written by save_to_disk, "
        "or save the rows as .parquet and use the key table"
    )
    return Problem(key, "a data set that can be loaded", got, change)
