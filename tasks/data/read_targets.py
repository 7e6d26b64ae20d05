"""Targets of the rows of a table, by the kind that the study states."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.data.decimals import POINT, parse_numbers, strip_cells
from tasks.data.file_scanners import ROW
from tasks.data.raw_table import RawTable
from tasks.data.target_text import Target
from tasks.study.errors import Problem, format_value, join_some
from tasks.study.target_kind import MULTI_LABEL, NUMBER, SOFT_LABEL

SEPARATORS = ("|", ";", ",")
"""Separators of labels in a cell of text, in the order in which they are tried."""
SUM_TOLERANCE = 1e-3
"""Largest deviation from 1 of the sum of a row's probabilities, which are rounded in tables."""
COARSE_SHARE = 1e-3
"""Step of single precision, as a share of the range of numbers, from which it is reported."""
MAX_SHOWN = 5
NO_LABELS, NO_TEXT = "[]", ""
"""Cell of a row without labels, also among names that a separator separates."""
TRUE, FALSE = ("1", "true", "yes"), ("0", "false", "no")


class _UnreadableCellsError(Exception):
    """Cells of some rows cannot be read, with what is expected in them."""

    def __init__(self, rows: Sequence[int], expected: str, change: str) -> None:
        super().__init__(expected)
        self.rows, self.expected, self.change = rows, expected, change


@dataclass(frozen=True)
class ReadTargets:
    """Targets of the rows of a table.

    Attributes:
        values: Target of each row; None without.
        problems: Problems of cells.
        notes: Sentences on what was detected.
    """

    values: list[Target | None]
    problems: list[Problem]
    notes: tuple[str, ...] = ()


def read_targets(
    opened: RawTable, columns: Sequence[str], kind: str, labels: Sequence[str], required: bool
) -> ReadTargets:
    """Read soft labels, several labels a row, or numbers.

    Args:
        opened: Columns of the table, with its decimal mark.
        columns: One column for each label; or a single one with lists, or with one number.
        kind: Kind of the target.
        labels: Label names of the study.
        required: Whether every row needs a target.
    """
    notes: list[str] = []
    try:
        if kind == MULTI_LABEL and len(columns) == 1 and len(labels) > 1:
            rows, notes = _read_label_lists(opened, columns[0], labels)
        elif len(columns) == 1 and opened.frame[columns[0]].dtype.is_nested():
            rows = _read_number_lists(opened, columns[0], len(labels))
        else:
            read = _read_yes_or_no if kind == MULTI_LABEL else _read_numbers
            rows = _read_columns(opened, columns, read)
    except _UnreadableCellsError as error:
        return ReadTargets([], [_make_problem(opened, columns, error)])
    problems = [*_check_missing(opened, columns, rows, kind)] if required else []
    problems += _check_range(opened, columns, rows, kind)
    notes += _describe_precision(columns, rows) if kind == NUMBER and not problems else []
    is_single = kind == NUMBER and len(labels) == 1
    values = [row if row is None or not is_single else row[0] for row in rows]
    return ReadTargets(values, problems, tuple(notes))


def _describe_precision(
    columns: Sequence[str], rows: Sequence[tuple[float, ...] | None]
) -> list[str]:
    """Return a note on numbers that single precision does not tell apart well."""
    numbers = np.array([row for row in rows if row is not None])
    if not len(numbers):
        return []
    step = np.abs(numbers).max(0) * np.finfo(np.float32).eps
    spread = numbers.max(0) - numbers.min(0)
    coarse = ((spread > 0) & (step > COARSE_SHARE * spread)).any()
    if not coarse:
        return []
    return [
        f"{join_some(columns)}: the numbers are large next to their differences, which single "
        "precision rounds: subtract a constant from them and from the outputs of the model"
    ]


def read_weights(opened: RawTable, name: str) -> tuple[list[float] | None, list[Problem]]:
    """Read the weights of the rows in the training loss: finite numbers >= 0, not all 0.

    Args:
        opened: Columns of the table.
        name: Column of the weights.
    """
    try:
        weights = _read_numbers(opened, name)
    except _UnreadableCellsError as error:
        return None, [_make_problem(opened, [name], error)]
    bad = [i for i, w in enumerate(weights) if w is None or not 0 <= w < float("inf")]
    if not bad and not any(weights):
        bad = [*range(len(weights))]
    if bad:
        change = "use the weights with which the model was trained"
        error = _UnreadableCellsError(bad, "finite weights of 0 or more, not all 0", change)
        return None, [_make_problem(opened, [name], error)]
    return [weight for weight in weights if weight is not None], []


def _make_problem(
    opened: RawTable, columns: Sequence[str], error: _UnreadableCellsError
) -> Problem:
    where = f"column {columns[0]}" if len(columns) == 1 else f"columns {join_some(columns)}"
    got = join_some((_show_row(opened, columns, i) for i in error.rows), MAX_SHOWN)
    return Problem(where, error.expected, got, error.change)


def _show_row(opened: RawTable, columns: Sequence[str], place: int) -> str:
    cells = [opened.frame[name][place] for name in columns]
    shown = [
        format_value(cell.to_list() if isinstance(cell, pl.Series) else cell) for cell in cells
    ]
    return f"row {opened.frame[ROW][place]}: {join_some(shown)}"


def _read_columns(
    opened: RawTable,
    columns: Sequence[str],
    read: Callable[[RawTable, str], list[float | None]],
) -> list[tuple[float, ...] | None]:
    """Read one column for each label; None for a row without any cell.

    Raises:
        _UnreadableCellsError: Cells that cannot be read, or rows with some of the cells.
    """
    rows = [*zip(*(read(opened, name) for name in columns), strict=True)]
    partial = [i for i, row in enumerate(rows) if None in row and set(row) != {None}]
    if partial:
        change = "fill these cells, or remove the rows"
        raise _UnreadableCellsError(partial, "a value for each label, or for none", change)
    return [None if None in row else row for row in rows]  # type: ignore[misc]


def _read_numbers(opened: RawTable, name: str) -> list[float | None]:
    column = opened.frame[name]
    change = "write one number a cell, or correct these rows"
    if column.dtype == pl.String:
        words = strip_cells(column)
        numbers = parse_numbers(words, opened.decimal or POINT)
        if numbers is None:
            parsed = words.cast(pl.Float64, strict=False)
            bad = (parsed.is_null() & words.is_not_null()).arg_true().to_list()
            raise _UnreadableCellsError(bad, "numbers", change)
        column = numbers
    elif not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise _UnreadableCellsError([0], "numbers", f"use another column; it has {column.dtype}")
    values = column.cast(pl.Float64)
    # a missing cell is NaN in tables that pandas wrote
    return [None if value != value else value for value in values.fill_null(float("nan"))]


def _read_yes_or_no(opened: RawTable, name: str) -> list[float | None]:
    column = opened.frame[name]
    if column.dtype == pl.String:
        words = strip_cells(column).str.to_lowercase()
        known = {**dict.fromkeys(TRUE, 1.0), **dict.fromkeys(FALSE, 0.0)}
        values = [None if word is None else known.get(word, np.inf) for word in words]
    else:
        values = _read_numbers(opened, name)
    bad = [i for i, value in enumerate(values) if value not in (None, 0.0, 1.0)]
    if bad:
        raise _UnreadableCellsError(bad, "0 or 1, true or false", "correct these cells")
    return values


def _read_number_lists(opened: RawTable, name: str, width: int) -> list[tuple[float, ...] | None]:
    column = opened.frame[name]
    rows: list[tuple[float, ...] | None] = []
    bad: list[int] = []
    for place, cell in enumerate(column):
        values = None if cell is None else cell.to_list() if isinstance(cell, pl.Series) else [cell]
        is_row = values is not None and len(values) == width
        if values is not None and not (is_row and all(_is_number(value) for value in values)):
            bad.append(place)
        rows.append(None if values is None else tuple(map(float, values)) if is_row else None)
    if bad:
        expected = f"lists of {width} numbers, one for each label"
        raise _UnreadableCellsError(bad, expected, "correct these rows")
    return rows


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_label_lists(
    opened: RawTable, name: str, labels: Sequence[str]
) -> tuple[list[tuple[float, ...] | None], list[str]]:
    """Read lists of label names, or their names in one text by a separator."""
    column, classes, notes = opened.frame[name], opened.class_names.get(name), []
    if column.dtype.is_nested():
        cells = [None if cell is None else cell.to_list() for cell in column]
        if classes is not None:
            cells = [None if cell is None else [classes[i] for i in cell] for cell in cells]
    else:
        cells, notes = _split_texts(strip_cells(column).to_list(), name, labels)
    positions = {label: place for place, label in enumerate(labels)}
    rows: list[tuple[float, ...] | None] = []
    bad = []
    for place, cell in enumerate(cells):
        names = None if cell is None else [str(each) for each in cell]
        if names is not None and not positions.keys() >= set(names):
            bad.append(place)
            names = None
        rows.append(None if names is None else tuple(float(label in names) for label in labels))
    if bad:
        expected = f"lists of {join_some(map(format_value, labels))}"
        change = "correct these rows, or add the names to labels if the model has them"
        raise _UnreadableCellsError(bad, expected, change)
    return rows, notes


def _split_texts(
    cells: Sequence[str | None], name: str, labels: Sequence[str]
) -> tuple[list[list[str] | None], list[str]]:
    """Split texts to names: JSON lists, or the first separator by which all names are known."""
    known = {*labels}
    cells = [NO_TEXT if cell == NO_LABELS else cell for cell in cells]
    if any(cell is not None and cell.startswith("[") for cell in cells):
        return [None if cell is None else _parse_list(cell) for cell in cells], []
    for separator in SEPARATORS:
        split = [None if cell is None else _split(cell, separator) for cell in cells]
        if all(known.issuperset(cell) for cell in split if cell is not None):
            is_used = any(cell is not None and len(cell) > 1 for cell in split)
            note = f"{name}: labels of a cell are separated by {format_value(separator)}"
            return split, [note] if is_used else []
    return [None if cell is None else [cell] for cell in cells], []


def _split(cell: str, separator: str) -> list[str]:
    return [part.strip() for part in cell.split(separator) if part.strip()]


def _parse_list(cell: str) -> list[str]:
    try:
        names = json.loads(cell or NO_LABELS)
    except ValueError:
        return [cell]  # no label has this name, so the row is reported
    return names if isinstance(names, list) else [cell]


def _check_missing(
    opened: RawTable, columns: Sequence[str], rows: Sequence[object], kind: str
) -> Iterator[Problem]:
    missing = [i for i, row in enumerate(rows) if row is None]
    if missing:
        change = "label these rows, or remove them from the table; write [] for no labels at all"
        change = change if kind == MULTI_LABEL else change.partition(";")[0]
        yield _make_problem(
            opened, columns, _UnreadableCellsError(missing, "a target in every row", change)
        )


def _check_range(
    opened: RawTable, columns: Sequence[str], rows: Sequence[tuple[float, ...] | None], kind: str
) -> Iterator[Problem]:
    """Yield a problem of numbers that are not finite, or are no probabilities that sum to one."""
    is_finite = [row is None or bool(np.isfinite(row).all()) for row in rows]
    expected, change = "finite numbers", "correct these rows, or remove them"
    bad = [i for i, finite in enumerate(is_finite) if not finite]
    if not bad and kind == SOFT_LABEL:
        expected = "probabilities of 0 or more whose sum is 1"
        change = "divide votes by their number; correct the other rows"
        bad = [
            i
            for i, row in enumerate(rows)
            if row is not None and (min(row) < 0 or abs(sum(row) - 1) > SUM_TOLERANCE)
        ]
    if bad:
        yield _make_problem(opened, columns, _UnreadableCellsError(bad, expected, change))
