"""Labelled tables of a study, validated before anything is computed."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from fastif.errors import InputError
from tasks.data.announcements import escape_unprintable
from tasks.data.column_notes import describe_giveaway, describe_groups
from tasks.data.column_types import cast_to_text
from tasks.data.columns import to_dotted
from tasks.data.decimals import decide_decimal
from tasks.data.file_scanners import ROW
from tasks.data.raw_table import RawTable
from tasks.data.readers import read_source
from tasks.data.table_problems import find_id_problems, find_label_problems, find_text_problems
from tasks.data.tabular import Measurements, read_measurements
from tasks.study.errors import (
    Problem,
    StudyError,
    format_value,
    join_some,
    suggest,
)
from tasks.study.sections import TableSource


@dataclass(frozen=True)
class Table:
    """Rows in the order of their source; all lists have one entry per row.

    Attributes:
        ids: Ids of the rows.
        texts: First texts; descriptions of the values for features and images.
        text_pairs: Second texts of pairs; None for single texts.
        given_labels: Positions of the labels in the study's label names; None for a row without.
        groups: Values of each group column.
        digest: SHA-256 of ids, texts, labels and groups in order, independent of the file format.
        place: Name of the source for messages.
        measurements: Values of features or pixels of images; None for texts.
        notes: Sentences on what was detected in the file, and on columns that may be unintended.
    """

    ids: list[str]
    texts: list[str]
    text_pairs: list[str] | None
    given_labels: Sequence[int | None]
    groups: dict[str, list[str | None]]
    digest: str
    place: str
    measurements: Measurements | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.ids)

    @property
    def labels(self) -> list[int]:
        """Positions of the labels in the study's label names.

        Raises:
            InputError: A row has no label.
        """
        labels = [label for label in self.given_labels if label is not None]
        if len(labels) == len(self.given_labels):
            return labels
        unlabelled = len(self.given_labels) - len(labels)
        raise InputError(
            self.place,
            "a label in every row",
            f"{unlabelled:,} of {len(self):,} rows without a label",
            "Add the labels, or leave these rows out.",
        )

    @property
    def is_labelled(self) -> bool:
        """Whether every row has a label."""
        return None not in self.given_labels

    def with_labels(self, labels: Sequence[int]) -> "Table":
        """Return the same rows with other labels, and the digest of the given ones."""
        return dataclasses.replace(self, given_labels=list(labels))

    def take(self, rows: Sequence[int]) -> "Table":
        """Select rows by position, in this order."""
        groups = {name: [values[i] for i in rows] for name, values in self.groups.items()}
        pairs = None if self.text_pairs is None else [self.text_pairs[i] for i in rows]
        ids, texts = [self.ids[i] for i in rows], [self.texts[i] for i in rows]
        labels = [self.given_labels[i] for i in rows]
        digest = _compute_digest(ids, texts, pairs, labels, groups)
        measurements = self.measurements.take(rows) if self.measurements else None
        return Table(ids, texts, pairs, labels, groups, digest, self.place, measurements)


def read_table(
    source: TableSource,
    labels: Sequence[str],
    folder: Path,
    role: str,
    joins: bool | None = None,
) -> Table:
    """Read and validate the table of a section. Only queries may lack labels.

    Labels are compared as text: a column of whole numbers matches the names "0", "1", ..., never
    positions, which would silently be wrong under another order of the names. A `datasets` column
    with class names is read as these names.

    Args:
        source: Section of the study.
        labels: Label names of the study.
        folder: Folder from which relative paths start.
        role: Name of the section, train or queries, for messages.
        joins: Whether single columns of numbers are one vector; see `read_measurements`.

    Raises:
        StudyError: all problems of the table; rows are counted from 1, without the header line.
    """
    columns = [
        *source.content_columns,
        *([source.label] if source.label else []),
        *([source.id] if source.id else []),
        *source.groups,
    ]
    opened = read_source(source, columns, folder, role)
    _require_columns(source, opened, role)
    if opened.frame.is_empty():
        problem = Problem(f"[{role}]", "1 or more rows", "an empty table", "fill it")
        raise StudyError(opened.place, [problem])
    opened = decide_decimal(opened, source.features, role)
    frame = cast_to_text(source, opened, labels)
    # The second text of a pair may be empty.
    problems = [problem for name in source.text[:1] for problem in find_text_problems(frame, name)]
    if source.label:
        is_required = role != "queries"
        problems += find_label_problems(frame, source.label, labels, opened, is_required)
    problems += find_id_problems(frame, source.id) if source.id else []
    if problems:
        raise StudyError(opened.place, problems)
    if source.text:
        texts = frame[source.text[0]].to_list()
        pairs = frame[source.text[1]].to_list() if len(source.text) == 2 else None
        table = _make_table(frame, source, labels, opened.place, texts, pairs, None)
    else:
        given = None if source.label is None else frame[source.label]
        rows, texts = read_measurements(source, opened, given, joins)
        table = _make_table(frame, source, labels, opened.place, texts, None, rows)
    notes = [*_list_notes(source, opened, frame)]
    notes += table.measurements.notes if table.measurements else ()
    notes = [escape_unprintable(f"[{role}] {opened.place}: {note}") for note in notes]
    return dataclasses.replace(table, notes=(*notes,))


def _require_columns(source: TableSource, opened: RawTable, role: str) -> None:
    kind = "text" if source.text else "features" if source.features else "image"
    wanted = [(kind, name) for name in source.content_columns]
    wanted += [("label", source.label)] if source.label else []
    wanted += [("id", source.id)] if source.id else []
    wanted += [("groups", name) for name in source.groups]
    available = join_some(opened.available, 20) or "none"
    missing = [(key, name) for key, name in wanted if name not in opened.available]
    problems = [
        Problem(
            f"[{role}] {key}",
            f"a column {format_value(name)}",
            f"the columns {available}",
            _suggest_column(name, opened.available) or f"set {key} to one of these columns",
        )
        for key, name in missing
    ]
    if problems and opened.separator and len(opened.available) == 1:
        problems = [_explain_single_column(source, opened, role)]
    if problems:
        raise StudyError(opened.place, problems)


def _explain_single_column(source: TableSource, opened: RawTable, role: str) -> Problem:
    """Return the problem of a text table whose separator divides no line."""
    separator = format_value(opened.separator)
    change = "set separator to the character between its cells"
    if source.separator is not None:
        change = "correct separator, or remove it to have it detected"
    expected = f"cells that are separated by {separator}"
    got = f"a single column, {format_value(opened.available[0])}"
    return Problem(f"[{role}] separator", expected, got, change)


def _suggest_column(name: str, available: Sequence[str]) -> str:
    """Return the column closest to a name; fields of nested columns are named with dots."""
    dotted = to_dotted(name)
    if dotted != name and dotted in available:
        return f"fields of nested columns are named with dots: write {format_value(dotted)}"
    return suggest(dotted, available)


def _list_notes(source: TableSource, opened: RawTable, frame: pl.DataFrame) -> Iterator[str]:
    """Yield what was detected in a file, and notes on columns that may be unintended."""
    detected = [f"{key} = {format_value(value)}" for key, value in opened.detected.items()]
    forms = [*([f"{opened.compression} compression"] if opened.compression else []), *detected]
    if forms:
        yield f"detected {', '.join(forms)}"
    yield from opened.notes
    if source.label and (count := frame[source.label].null_count()):
        rows = "all" if count == len(frame) else f"{count:,} of {len(frame):,}"
        yield f"{rows} rows have no label: of these the predicted label is explained"
    if source.label:
        for name in source.text:
            yield from describe_giveaway(name, frame[name], frame[source.label])
    for name in source.text[1:]:
        if count := (frame[name] == "").sum():
            rows = "all" if count == len(frame) else f"{count:,}"
            yield (
                f"the second text, {name}, is empty in {rows} rows: they are tokenized as "
                'pairs, as by tokenizer([text], [""])'
            )
    for name in source.groups:
        yield from describe_groups(name, frame[name].to_list())


def _make_table(
    frame: pl.DataFrame,
    source: TableSource,
    labels: Sequence[str],
    place: str,
    texts: list[str],
    pairs: list[str] | None,
    rows: Measurements | None,
) -> Table:
    positions = {label: position for position, label in enumerate(labels)}
    ids = frame[source.id or ROW].cast(pl.String).to_list()
    given = [None] * len(ids) if source.label is None else frame[source.label].to_list()
    numbers = [None if label is None else positions[label] for label in given]
    groups = {name: frame[name].to_list() for name in source.groups}
    digest = _compute_digest(ids, texts, pairs, numbers, groups)
    return Table(ids, texts, pairs, numbers, groups, digest, place, rows)


def _compute_digest(
    ids: list[str],
    texts: list[str],
    pairs: list[str] | None,
    labels: Sequence[int | None],
    groups: dict[str, list[str | None]],
) -> str:
    """SHA-256 of one JSON array per row, preceded by one with the names of the groups."""
    names = sorted(groups)
    hasher = hashlib.sha256(json.dumps(["table 1", pairs is not None, *names]).encode())
    second_texts: Sequence[str | None] = pairs if pairs is not None else [None] * len(ids)
    for row in zip(
        ids, texts, second_texts, labels, *(groups[name] for name in names), strict=True
    ):
        hasher.update(b"\n" + json.dumps(row).encode())
    return hasher.hexdigest()
