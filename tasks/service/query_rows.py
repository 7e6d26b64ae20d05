"""Query rows of a request: texts or rows with the study's columns, checked like a query table."""

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from fastif import InputError
from tasks.data.dataset import Table, read_table
from tasks.data.tabular import Measurements
from tasks.study.errors import StudyError, join_some
from tasks.study.sections import TableSource
from tasks.study.study import Study

ROLE = "request"
LABEL = "label"
"""Key of the label in a row if the study names no column for it."""
MEMORY_FOLDER = Path("/dev/shm")
"""Folder in memory, where there is one, so that no text of a request is written to a disk."""
FORBIDDEN = re.compile("[\0\ud800-\udfff]")
"""NUL and halves of surrogate pairs, which tokenizers and files of tables reject or drop."""


@dataclass(frozen=True)
class QueryRows:
    """Rows to explain.

    Attributes:
        table: Rows in the form of the study's query table; a missing label is the first one.
        labels: Position of the label of each row; None for a row without one.
    """

    table: Table
    labels: Sequence[int | None]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.table)

    def take(self, places: Sequence[int]) -> "QueryRows":
        """Select rows by position, in this order."""
        return QueryRows(self.table.take(places), [self.labels[place] for place in places])


def read_query_rows(
    study: Study,
    rows: Sequence[Mapping[str, Any]],
    max_characters: int | None = None,
    trained: Measurements | None = None,
) -> QueryRows:
    """Check rows with the study's columns, with the words of a query table.

    Args:
        study: Study of the model.
        rows: Values by column; the label may be left out or None.
        max_characters: Maximum length of a text; None for no limit.
        trained: Features of the training rows, which those of the rows must be like; None for
            texts.

    Raises:
        InputError: A row is not readable, or its features are of other kinds.
        StudyError: A text is empty, a label is unknown, or a column is missing.
    """
    source = _get_source(study)
    columns = list_columns(study)
    for place, row in enumerate(rows):
        _check_row(row, f"rows[{place}]", columns, max_characters)
    label = source.label or LABEL
    given = [row.get(label) is not None for row in rows]
    complete = [
        {**row, label: row[label] if has else study.labels[0]}
        for row, has in zip(rows, given, strict=True)
    ]
    needed = [*source.content_columns, label]
    source = source.model_copy(update={"label": label, "id": None, "groups": ()})
    kinds = {} if trained is None else dict(zip(source.features, trained.kinds, strict=True))
    with _write_rows(complete, needed, kinds) as path:
        joins = None if trained is None else trained.joined
        table = _read_table(source, study, path, joins)
    _compare_kinds(kinds, table)
    labels = [position if has else None for position, has in zip(table.labels, given, strict=True)]
    return QueryRows(table, labels)


def name_texts(
    study: Study, texts: Sequence[Any], labels: Sequence[Any] | None = None
) -> list[dict[str, Any]]:
    """Return texts, or pairs of texts, as rows with the study's columns.

    Raises:
        InputError: The study has no texts, or a text is not of its form.
    """
    source = _get_source(study)
    names = source.text
    if not names:
        raise InputError(
            "texts",
            f"rows with the columns {join_some(source.content_columns)}",
            "texts",
            'Send {"rows": [{"column": value, ...}]}: the model of this study reads no texts.',
        )
    if labels is not None and len(labels) != len(texts):
        raise InputError(
            "labels",
            f"as many labels as texts, {len(texts)}",
            f"{len(labels)}",
            "Give a label, or null, for every text.",
        )
    rows = [_name_text(names, text, f"texts[{place}]") for place, text in enumerate(texts)]
    if labels is not None:
        rows = [
            {**row, source.label or LABEL: label} for row, label in zip(rows, labels, strict=True)
        ]
    return rows


def _name_text(names: Sequence[str], text: Any, where: str) -> dict[str, Any]:
    parts = [text] if isinstance(text, str) else text
    is_readable = isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts)
    if not is_readable or len(parts) != len(names):
        expected = "a text" if len(names) == 1 else f"a pair of texts, [{', '.join(names)}]"
        got = f"{len(parts)} texts" if is_readable else name_json_type(text)
        raise InputError(where, expected, got, "Send every query in this form.")
    return dict(zip(names, parts, strict=True))


def name_json_type(value: object) -> str:
    """Name the type of a value in the terms of JSON, without the value.

    >>> name_json_type(None), name_json_type(True), name_json_type([1])
    ('null', 'true or false', 'an array')
    """
    names = (
        (type(None), "null"),
        (bool, "true or false"),
        (int | float, "a number"),
        (str, "a text"),
        (Mapping, "an object"),
        (list | tuple, "an array"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), type(value).__name__)


def _get_source(study: Study) -> TableSource:
    return study.queries if study.has_queries else study.train


def list_columns(study: Study) -> list[str]:
    """Return the columns of a query row that are read."""
    source = _get_source(study)
    return [*source.content_columns, source.label or LABEL]


def _check_row(row: object, where: str, columns: Sequence[str], limit: int | None) -> None:
    """Refuse a row that is no object of known columns, and texts that cannot be read.

    Raises:
        InputError: With the position of the row, and never with a text of it.
    """
    if not isinstance(row, Mapping):
        expected = f"an object with the columns {join_some(columns)}"
        raise InputError(where, expected, name_json_type(row), "Send every row in this form.")
    unknown = [name for name in row if name not in columns]
    if unknown:
        raise InputError(
            where,
            f"the columns {join_some(columns)}",
            f"{len(unknown)} of other names",
            "Leave them out; they are not read.",
        )
    for name, value in row.items():
        _check_value(value, f"{where} {name}", limit)


def _check_value(value: object, where: str, limit: int | None) -> None:
    """Refuse texts that cannot be read, and numbers that are not finite in double precision."""
    if isinstance(value, str):
        _check_text(value, where, limit)
    elif isinstance(value, list | tuple):
        for part in value:
            _check_value(part, where, limit)
    elif isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        expected = "a finite number in double precision"
        raise InputError(where, expected, "another number", "Send null for a missing number.")


def _check_text(text: str, where: str, limit: int | None) -> None:
    if limit is not None and len(text) > limit:
        expected = f"at most {limit:,} characters"
        raise InputError(where, expected, f"{len(text):,}", "Shorten the text.")
    forbidden = FORBIDDEN.search(text)
    if forbidden:
        expected = "a text without NUL and without halves of surrogate pairs"
        got = f"U+{ord(forbidden.group()):04X} at character {forbidden.start() + 1}"
        raise InputError(where, expected, got, "Remove this character.")


@contextmanager
def _write_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], kinds: Mapping[str, str]
) -> Iterator[Path]:
    """Context manager with a temporary file of rows, in memory where the system has such a folder.

    Raises:
        InputError: A column has values of several types, or of none that a table has.
    """
    present = [name for name in columns if any(name in row for row in rows)]
    series = [_make_column(name, rows, kinds.get(name)) for name in present]
    place = str(MEMORY_FOLDER) if MEMORY_FOLDER.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="fastif-request-", dir=place) as folder:
        path = Path(folder) / "rows.parquet"
        pl.DataFrame(series).write_parquet(path, compression="uncompressed", statistics=False)
        yield path


def _make_column(name: str, rows: Sequence[Mapping[str, Any]], kind: str | None) -> pl.Series:
    """Return a column; one without any value has the type of its kind."""
    values = [row.get(name) for row in rows]
    if kind is not None and set(map(type, values)) == {type(None)}:
        return pl.Series(name, values, pl.Float64 if kind == "numbers" else pl.String)
    if {int, float} <= set(map(type, values)) and all(map(_is_exact, values)):
        values = [float(value) if isinstance(value, int) else value for value in values]
    try:
        return pl.Series(name, values, strict=True)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        kinds = join_some(sorted({name_json_type(value) for value in values}))
        expected = "values of one type in all rows"
        raise InputError(
            f"column {name}", expected, kinds, "Write its values as in the query table."
        ) from None


def _is_exact(value: object) -> bool:
    """Whether a value is no whole number, or one that double precision has."""
    return not isinstance(value, int) or float(value) == value


def _compare_kinds(kinds: Mapping[str, str], table: Table) -> None:
    """Refuse features that are not of the kinds of the training rows.

    Raises:
        InputError: A feature is of another kind.
    """
    own = table.measurements.kinds if table.measurements is not None else ()
    for (name, kind), other in zip(kinds.items(), own, strict=True):
        if kind != other:
            change = "Write its values as in the training table."
            raise InputError(f"column {name}", f"{kind}, as in [train]", other, change)


def _read_table(source: TableSource, study: Study, path: Path, joins: bool | None) -> Table:
    """Read the rows like a query table; the name of the file does not appear in an error."""
    try:
        return read_table(
            source.model_copy(update={"table": str(path), "dataset": None, **PLAIN}),
            study.labels,
            study.folder,
            ROLE,
            joins,
        )
    except StudyError as error:
        raise StudyError(ROLE, error.problems) from None


PLAIN = {
    "separator": None,
    "decimal": None,
    "encoding": None,
    "sheet": None,
    "split": None,
    "config": None,
}
"""Keys on the form of a text file, which rows of a request do not have."""
