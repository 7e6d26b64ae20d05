"""The study file and its two tables, the inputs of every command; each file is read once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tasks.data.announcements import announce_notes
from tasks.data.dataset import Table, read_table
from tasks.data.span_queries import expand_by_span
from tasks.data.table_checks import check_tables
from tasks.runtime.file_cache import FileCache
from tasks.study.joined_errors import call_all
from tasks.study.sections import TableSource
from tasks.study.study import Study, load_study
from tasks.study.supported_targets import check_target
from tasks.study.target_kind import CLASS, ONE_CLASS

_studies: FileCache[Study] = FileCache(16)
_tables: FileCache[Table] = FileCache(4)


@dataclass(frozen=True)
class Inputs:
    """A study and its two tables, read and validated."""

    study: Study
    train: Table
    queries: Table


def read_study(path: Path) -> Study:
    """Load a study, cached in this process until the file changes.

    Raises:
        StudyError: see `load_study`.
    """
    return _studies.read(path, str(path), lambda: load_study(path))


def read_table_once(
    source: TableSource,
    labels: Sequence[str],
    folder: Path,
    role: str,
    joins: bool | None = None,
    kind: str = CLASS,
) -> Table:
    """Read a table, cached in this process until the file changes.

    Data sets and images, which are more files than one, are never cached. Notes on the table are
    announced.

    Raises:
        StudyError: see `read_table`.
    """
    if source.table is None or source.image is not None:
        table = read_table(source, labels, folder, role, joins, kind)
    else:
        key, path = (source, tuple(labels), folder, role, joins, kind), folder / source.table
        table = _tables.read(
            path, key, lambda: read_table(source, labels, folder, role, joins, kind)
        )
    announce_notes(table.notes)
    return table


def read_tables(study: Study) -> Inputs:
    """Read and check the tables of a study.

    Raises:
        StudyError: all problems of both tables.
    """
    tables: list[Table] = []

    def read_role(role: str) -> None:
        # A collate function and trees get the columns by name.
        by_name = study.model.factory is not None or study.has_trees
        source, joins = study.train, False if by_name else None
        if role == "queries":
            # Their columns are read as those of the training rows, however few queries there are.
            source, train_rows = study.queries, tables[0].measurements if tables else None
            joins = train_rows.joined if train_rows is not None else None
        table = read_table_once(source, study.labels, study.folder, role, joins, study.target)
        if role == "queries" and study.queries.by_label:
            table = table.expand_by_label(study.labels)
        if role == "queries" and study.queries.by_span:
            table = expand_by_span(table, study.labels)
        tables.append(table)

    roles = ["train", *(["queries"] if study.has_queries else [])]
    call_all(study.path, *(partial(read_role, role) for role in roles))
    train, *others = tables
    queries = others[0] if others else train.take([])
    check_tables(study, train, queries)
    return Inputs(study, train, queries)


def read_inputs(path: Path, what: str = "this command", kinds: Sequence[str] = ONE_CLASS) -> Inputs:
    """Read a study file and its tables.

    Args:
        path: Study file.
        what: Name of the command or option, for the refusal of other kinds of targets.
        kinds: Kinds of targets that it supports.

    Raises:
        StudyError: all problems of the study file, else those of both tables.
    """
    study = read_study(path)
    check_target(study, kinds, what)
    return read_tables(study)
