"""A study file with its two tables: what every command starts from. Each file is read once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.data.dataset import Table, check_tables, read_table
from tasks.runtime.file_cache import FileCache
from tasks.study.sections import TableSource
from tasks.study.study import Study, load_study

_studies: FileCache[Study] = FileCache(16)
_tables: FileCache[Table] = FileCache(4)


@dataclass(frozen=True)
class Inputs:
    """The study and its two tables, read and checked."""

    study: Study
    train: Table
    queries: Table


def read_study(path: Path) -> Study:
    """The study of a file; parsed once by this process, and again when the file is another.

    Raises:
        StudyError: as `load_study`.
    """
    return _studies.read(path, str(path), lambda: load_study(path))


def read_table_once(source: TableSource, labels: Sequence[str], folder: Path, role: str) -> Table:
    """`read_table`, and a file is read and hashed once by this process; a data set each time.

    Raises:
        StudyError: as `read_table`.
    """
    if source.table is None:
        return read_table(source, labels, folder, role)
    key = (source, tuple(labels), folder, role)
    path = folder / source.table
    return _tables.read(path, key, lambda: read_table(source, labels, folder, role))


def read_tables(study: Study) -> Inputs:
    """A study with its tables.

    Raises:
        StudyError: everything that is wrong with one of them.
    """
    train = read_table_once(study.train, study.labels, study.folder, "train")
    queries = train.take([])
    if study.has_queries:
        queries = read_table_once(study.queries, study.labels, study.folder, "queries")
    check_tables(study, train, queries)
    return Inputs(study, train, queries)


def read_inputs(path: Path) -> Inputs:
    """Read a study file and its tables.

    Raises:
        StudyError: everything that is wrong with one of them.
    """
    return read_tables(read_study(path))
