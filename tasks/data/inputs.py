"""A study file with its two tables: what every command starts from."""

from dataclasses import dataclass
from pathlib import Path

from tasks.data.dataset import Table, check_tables, read_table
from tasks.study.study import Study, load_study


@dataclass(frozen=True)
class Inputs:
    """The study and its two tables, read and checked."""

    study: Study
    train: Table
    queries: Table


def read_inputs(path: Path) -> Inputs:
    """Read a study file and its tables.

    Raises:
        StudyError: everything that is wrong with one of them.
    """
    study = load_study(path)
    train = read_table(study.train, study.labels, study.folder, "train")
    queries = train.take([])
    if study.has_queries:
        queries = read_table(study.queries, study.labels, study.folder, "queries")
    check_tables(study, train, queries)
    return Inputs(study, train, queries)
