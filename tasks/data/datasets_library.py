"""Reading of a data set by the `datasets` library: from a folder, or from the Hugging Face hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from tasks.data.columns import find_parents, list_columns, select_columns
from tasks.data.file_scanners import ROW
from tasks.data.raw_table import RawTable
from tasks.study.errors import Problem, StudyError, format_value, join_some, suggest
from tasks.study.fields import HUB
from tasks.study.sections import TableSource
from tasks.study.spelling import normalize_nfc

if TYPE_CHECKING:
    from datasets import Dataset


def read_dataset(source: TableSource, wanted: Sequence[str], folder: Path, role: str) -> RawTable:
    """Read a data set by the `datasets` library: saved to a folder, a folder of files, or a hub.

    Only names with the prefix `hub:` are looked up on the hub, so that a mistyped path is refused.
    Code of a data set is never executed.
    """
    rows = load_split(source, folder, role)
    name = str(source.dataset)
    try:
        # Only the wanted columns are read, since others can hold images or sound.
        parents = {parent for name in wanted for parent in find_parents(name)}
        present = [column for column in rows.column_names if normalize_nfc(column) in parents]
        frame = pl.DataFrame(rows.select_columns(present).with_format("arrow")[:])
        nested = list_columns(frame.schema)
        frame = select_columns(frame.lazy(), wanted).collect()
    except Exception as error:  # the library can raise any exception
        raise StudyError(name, [_explain_load_error(f"[{role}] dataset", error)]) from None
    names = list_class_names(rows)
    place = f"{name}, split {rows.split}" if rows.split else name
    available = list(dict.fromkeys([*map(normalize_nfc, rows.column_names), *nested]))
    frame = frame.with_row_index(ROW, 1)
    local = find_folder(source, folder)
    tag_names = list_tag_names(rows)
    return RawTable(place, available, frame, names, folder=local, tag_names=tag_names)


def find_folder(source: TableSource, folder: Path) -> Path | None:
    """Find the folder of a data set; None for one of a hub."""
    local = folder / str(source.dataset)
    return local if local.is_dir() else None


def load_split(source: TableSource, folder: Path, role: str) -> "Dataset":
    """Load the split of a section, with all columns.

    Args:
        source: Section of the study.
        folder: Folder from which relative paths start.
        role: Name of the section, train or queries, for messages.

    Raises:
        StudyError: the library is not installed, or the data set or split does not exist.
    """
    name, key = str(source.dataset), f"[{role}] dataset"
    try:
        import datasets
    except ImportError:
        change = "pip install datasets, or save the rows as .parquet and use the key table"
        got = "it is not installed"
        problem = Problem(key, "the `datasets` library", got, change)
        raise StudyError(name, [problem]) from None
    local = find_folder(source, folder)
    if local is None and not name.startswith(HUB):
        change = f'correct the path; for a data set of the Hugging Face hub write "{HUB}{name}"'
        problem = Problem(key, "a folder with a data set", f"no folder {folder / name}", change)
        raise StudyError(name, [problem])
    try:
        if local is not None and _is_saved_dataset(local):
            dataset = datasets.load_from_disk(str(local))
        else:
            place = name.removeprefix(HUB) if local is None else str(local)
            dataset = datasets.load_dataset(place, source.config)
        return _select_split(dataset, source, role)
    except StudyError:
        raise
    except Exception as error:  # the library can raise any exception, also of the network
        raise StudyError(name, [_explain_load_error(key, error)]) from None


def list_class_names(rows: "Dataset") -> dict[str, list[str]]:
    """List the names of the classes of each column with class labels."""
    import datasets

    return {
        normalize_nfc(column): list(feature.names)
        for column, feature in rows.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }


def list_tag_names(rows: "Dataset") -> dict[str, list[str]]:
    """List the names of the classes of each column with lists of class labels."""
    import datasets

    lists = {name: getattr(each, "feature", None) for name, each in rows.features.items()}
    return {
        normalize_nfc(name): list(feature.names)
        for name, feature in lists.items()
        if isinstance(feature, datasets.ClassLabel)
    }


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
