"""Files of a corrected training table: their names, and what they must not overwrite."""

import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import polars as pl

from fastif import InputError
from storage.atomic import create_files
from tasks.data.csv_escape import escape_formulas
from tasks.data.file_content import split_suffix
from tasks.data.table_writers import get_format, is_writable
from tasks.run.existing_store import resolve_store_path
from tasks.runtime.writable_path import check_outside
from tasks.study.sections import TableSource
from tasks.study.study import Study

_MARK = re.compile(r"-clean(-\d+)?$")


def name_log(path: Path) -> Path:
    """Path of the change log of a corrected table.

    >>> name_log(Path("out/train-clean.csv.gz")).name
    'train-clean.changes.csv'
    """
    return path.with_name(f"{_split(path)[0]}.changes.csv")


def name_corrected_table(study: Study) -> Path:
    """Name a new file next to the training table, in the same format where that can be written.

    Data sets, next to the study, and workbooks are written as Parquet.
    """
    path = study.folder / "train" if study.train.table is None else study.resolve(study.train.table)
    stem, suffix = _split(path)
    suffix = suffix if is_writable(suffix) else ".parquet"
    stem = _MARK.sub("", stem)
    names = (path.with_name(f"{stem}-clean{'' if n == 1 else f'-{n}'}{suffix}") for n in count(1))
    return next(name for name in names if not (_exists(name) or _exists(name_log(name))))


def create_corrected_files(
    path: Path, log: pl.DataFrame, write_table: Callable[[Path], None]
) -> None:
    """Create a corrected table and its change log together: both of them, or none.

    Args:
        path: Path of the corrected table; the change log is next to it.
        log: Change log.
        write_table: Function that writes and checks the table as the file that it is given.

    Raises:
        InputError: One of the paths exists by now.
        StoreError: The files cannot be written.
    """

    def write(folder: Path) -> None:
        write_table(folder.absolute() / path.name)
        escape_formulas(log).write_csv(folder / name_log(path).name)

    existing = create_files(path.parent, [name_log(path).name, path.name], write)
    if existing:
        where, remedy = path.with_name(existing), "Choose another name: nothing is overwritten."
        raise InputError(f"--out {where}", "a new file", "one that exists", remedy)


def check_corrected_table(study: Study, path: Path) -> None:
    """Refuse a path for the corrected table that must not be written.

    Args:
        study: Study, whose files and folders stay as they are.
        path: Path of the corrected table; the change log is next to it.

    Raises:
        InputError: a table of the study, by any name; an existing file, a path in the store or in
            a folder of images or of a data set, an address, or an unknown format.
    """
    where = f"--out {path}"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        remedy = "Write a local file, and copy it."
        raise InputError(where, "a path of a local file", "an address", remedy)
    for target in (path, name_log(path)):
        for role, own in _list_own_files(study):
            if _is_same_file(target, own):
                got = f"{role}, {own}" if target == own else f"a link to {role}, {own}"
                remedy = "Choose a new name: files of the study are never overwritten."
                raise InputError(f"--out {target}", "a new file", got, remedy)
    get_format(path)
    for role, folder in _list_own_folders(study):
        if folder.resolve() in path.resolve().parents:
            remedy = "Choose a path outside of this folder."
            raise InputError(where, f"a path outside the {role}", f"a path in {folder}", remedy)
    check_outside(resolve_store_path(study), path)
    for target in (path, name_log(path)):
        if _exists(target):
            remedy = "Choose another name, or remove the file: nothing is overwritten."
            raise InputError(f"--out {target}", "a new file", "one that exists", remedy)


def _list_own_files(study: Study) -> Iterator[tuple[str, Path]]:
    yield "the study file", study.path
    for role, source in _list_sources(study):
        if source.table is not None:
            yield f"the table of [{role}]", study.resolve(source.table)


def _list_own_folders(study: Study) -> Iterator[tuple[str, Path]]:
    for role, source in _list_sources(study):
        if source.table is None:
            folder = study.resolve(str(source.dataset))
            if folder.is_dir():
                yield f"data set of [{role}]", folder
        elif study.resolve(source.table).is_dir():
            yield f"images of [{role}]", study.resolve(source.table)


def _list_sources(study: Study) -> Iterator[tuple[str, TableSource]]:
    yield "train", study.train
    if study.has_queries:
        yield "queries", study.queries


def _is_same_file(path: Path, own: Path) -> bool:
    if path.resolve() == own.resolve():
        return True
    return path.exists() and own.exists() and path.samefile(own)


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _split(path: Path) -> tuple[str, str]:
    """Split a file name into the name without endings, and the endings."""
    name, compression = split_suffix(path.name)
    suffix = Path(name).suffix
    return name.removesuffix(suffix), f"{suffix}{compression}"
