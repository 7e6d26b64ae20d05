"""Columns of the training table with predictions of other classifiers, `[mislabels] judges`."""

import hashlib
from collections.abc import Sequence
from functools import partial

import numpy as np
import polars as pl
import torch
from torch import Tensor

from fastif import InputError
from fastif.mislabels.external_classifier import ExternalClassifier
from tasks.data.columns import list_columns
from tasks.data.dataset import Table
from tasks.data.decimals import POINT, decide_decimal, parse_numbers, strip_cells
from tasks.data.raw_table import RawTable
from tasks.data.readers import read_source
from tasks.mislabels.label_words import parse_label
from tasks.mislabels.predicted_columns import WHERE, ClassifierColumn, interpret_column
from tasks.mislabels.predicted_probabilities import check_order, interpret_numbers
from tasks.study.errors import Problem, StudyError, format_value, join_some, suggest
from tasks.study.joined_errors import call_all
from tasks.study.study import Study

SEPARATORS = ("_", ".", "-", " ", ":")
"""Characters between the name of a classifier and a label, in names of columns."""


def read_classifier_columns(study: Study, train: Table) -> tuple[ClassifierColumn, ...]:
    """Read the predictions of other classifiers from the training table.

    An entry names a column of labels, class positions, a score, or lists or fields with a number
    for each class; or, if there is no such column, the columns NAME_LABEL with one of these each.

    Args:
        study: The study.
        train: Training table with the same rows.

    Raises:
        StudyError, InputError: A column that does not exist or cannot be interpreted.
    """
    names = study.mislabels.judges
    if not names:
        return ()
    _check_roles(study, names)
    by_class = {name: _name_by_class(name, study.labels) for name in names}
    wanted = [*names, *(column for forms in by_class.values() for form in forms for column in form)]
    opened = read_source(study.train, wanted, study.folder, "train")
    if opened.frame.height != len(train):
        raise InputError(WHERE, f"the {len(train):,} rows of [train]",
                         f"{opened.frame.height:,} rows", "Run the command again.")  # fmt: skip
    texts = [name for name in opened.frame.columns if opened.frame[name].dtype == pl.String]
    numeric = [name for name in texts if name in wanted]
    opened = decide_decimal(opened, numeric, "train")
    given = np.array(train.labels)
    missing = [name for name in names if not _exists(opened, name, by_class[name])]
    if missing:
        raise StudyError(opened.place, [_make_missing_problem(n, opened, study) for n in missing])
    readers = (partial(_read_column, name, opened, by_class[name], study, given) for name in names)
    return tuple(call_all(study.path, *readers))


def make_external_classifiers(
    columns: Sequence[ClassifierColumn], order: Tensor
) -> tuple[ExternalClassifier, ...]:
    """Make the classifiers of the library, with the rows in another order.

    Args:
        columns: Predictions in the order of the training table.
        order: Position in the training table of each row, [n].
    """
    return tuple(
        ExternalClassifier(
            column.name,
            None if column.predicted is None else torch.from_numpy(column.predicted)[order],
            None if column.outputs is None else torch.from_numpy(column.outputs).float()[order],
        )
        for column in columns
    )


def compute_columns_digest(columns: Sequence[ClassifierColumn]) -> str | None:
    """SHA-256 of the predictions in the order of the rows; None without columns."""
    if not columns:
        return None
    hasher = hashlib.sha256()
    for column in columns:
        array = column.predicted if column.outputs is None else column.outputs
        hasher.update(f"{column.name}\n{column.kind}\n".encode())
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()


def _check_roles(study: Study, names: Sequence[str]) -> None:
    source = study.train
    roles = dict.fromkeys(source.content_columns, "content of the rows")
    roles |= {source.label: "label"} | ({source.id: "id"} if source.id else {})
    problems = [
        Problem(
            WHERE,
            "columns other than the content, the label and the id of [train]",
            f"{format_value(name)}, the {roles[name]}",
            "remove it, or name the column with the predictions of a classifier",
        )
        for name in names
        if name in roles
    ]
    if problems:
        raise StudyError(study.path, problems)


def _name_by_class(name: str, labels: Sequence[str]) -> list[list[str]]:
    """Possible names of the columns of all labels, by separator."""
    return [[f"{name}{separator}{label}" for label in labels] for separator in SEPARATORS]


def _exists(opened: RawTable, name: str, forms: Sequence[Sequence[str]]) -> bool:
    return name in opened.frame.columns or any(
        all(column in opened.frame.columns for column in form) for form in forms
    )


def _make_missing_problem(name: str, opened: RawTable, study: Study) -> Problem:
    """Problem of an entry without columns; names the classes whose columns are missing."""
    available = opened.available
    expected = f"a column {format_value(name)}, or columns such as {name}_{study.labels[0]}"
    for form in _name_by_class(name, study.labels):
        lacking = [column for column in form if column not in available]
        if len(lacking) < len(form):
            got = f"no column {join_some(map(format_value, lacking), 3)}"
            change = "add the columns of all labels, or name a column of labels"
            return Problem(WHERE, expected, got, change)
    got = f"the columns {join_some(available, 20)}"
    change = suggest(name, available) or "correct the name, or remove it from judges"
    return Problem(WHERE, expected, got, change)


def _read_column(
    name: str,
    opened: RawTable,
    forms: Sequence[Sequence[str]],
    study: Study,
    given: np.ndarray,
) -> ClassifierColumn:
    if name not in opened.frame.columns:
        form = next(form for form in forms if all(c in opened.frame.columns for c in form))
        columns = [_to_numbers(name, opened.frame[column], opened) for column in form]
        return interpret_numbers(name, np.stack(columns, 1))
    column = opened.frame[name]
    if isinstance(column.dtype, pl.Struct):
        return interpret_numbers(name, _read_fields(name, column, study.labels, opened))
    if isinstance(column.dtype, pl.List | pl.Array):
        read = interpret_numbers(name, _read_lists(name, column, len(study.labels)))
        check_order(read, given, study.labels)
        return read
    if name in opened.class_names:
        names = dict(enumerate(opened.class_names[name]))
        column = column.replace_strict(names, default=None, return_dtype=pl.String)
    if not _is_simple(column.dtype):
        raise _make_type_error(name, column.dtype)
    return interpret_column(name, column, study.labels, given, opened.decimal)


def _read_fields(
    name: str, column: pl.Series, labels: Sequence[str], opened: RawTable
) -> np.ndarray:
    """Numbers of a nested column, in the order of the labels that its fields name."""
    frame = column.struct.unnest()
    fields = {parse_label(field, labels): field for field in frame.columns}
    lacking = [label for label in labels if label not in fields]
    if lacking or len(frame.columns) > len(labels):
        raise InputError(
            f"{WHERE}: {name}",
            f"a field for each label: {join_some(labels, 6)}",
            f"the fields {join_some(list_columns(dict(frame.schema)), 6)}",
            "Name the fields as the labels, or name a single field.",
        )
    columns = [_to_numbers(name, frame[fields[label]], opened) for label in labels]
    return np.stack(columns, 1)


def _read_lists(name: str, column: pl.Series, classes: int) -> np.ndarray:
    """Numbers of a column of lists, [n, c]; NaN for null."""
    rows = column.to_list()
    lengths = {len(row) for row in rows if row is not None}
    inner = getattr(column.dtype, "inner", None)
    if lengths != {classes} or inner is None or not inner.is_numeric():
        got = "no numbers" if lengths == {classes} else f"lists of {join_some(map(str, lengths))}"
        raise InputError(f"{WHERE}: {name}", f"lists of {classes} numbers, one a label", got,
                         "Write one number for each label, in the order of labels.")  # fmt: skip
    empty = [None] * classes
    return np.array([empty if row is None else row for row in rows], dtype=float)


def _to_numbers(name: str, column: pl.Series, opened: RawTable) -> np.ndarray:
    """Numbers of a column of one class; NaN for empty cells."""
    if column.dtype == pl.String:
        parsed = parse_numbers(strip_cells(column), opened.decimal or POINT)
        column = column if parsed is None else parsed
    if not (column.dtype.is_numeric() or column.dtype == pl.Null):
        raise _make_type_error(f"{name}, column {column.name}", column.dtype)
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _is_simple(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null)


def _make_type_error(name: str, dtype: pl.DataType) -> InputError:
    return InputError(f"{WHERE}: {name}", "text or numbers", f"cells of type {dtype}",
                      "Use another column, or save this one as text or numbers.")  # fmt: skip
