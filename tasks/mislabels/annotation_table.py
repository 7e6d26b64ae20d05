"""Tables of annotations by several annotators, in long, wide or nested form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from fastif import InputError
from fastif.mislabels.annotated_rows import AnnotatedRows
from tasks.data.file_scanners import ROW
from tasks.data.raw_table import RawTable
from tasks.data.read_options import ReadOptions
from tasks.data.readers import read_file
from tasks.mislabels.label_words import choose_none_word, parse_label
from tasks.mislabels.predicted_columns import format_whole
from tasks.study.errors import format_value, join_some, suggest
from tasks.study.spelling import normalize_nfc

SHOWN = 3
ROW_NAME, ANNOTATOR, LABEL = "row", "annotator", "label"
"""Columns of a table in long form."""


@dataclass(frozen=True)
class AnnotationColumns:
    """Columns of a table of annotations, as options of the command.

    Attributes:
        row: Column with the row's id; None for the number of the row in the file.
        annotator: Column with the annotator, in long and nested form.
        label: Column with the label, in long and nested form.
        wide: Columns of labels, one an annotator, in wide form.
    """

    row: str | None = None
    annotator: str | None = None
    label: str | None = None
    wide: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse options of both forms, or of neither.

        Raises:
            InputError: Neither --annotator with --label, nor --column twice or more.
        """
        is_long = self.annotator is not None and self.label is not None
        has_long = self.annotator is not None or self.label is not None
        if (is_long and not self.wide) or (len(self.wide) > 1 and not has_long):
            return
        raise InputError(
            "options",
            "--annotator and --label (one line an annotation), or --column for each annotator",
            "both" if has_long and self.wide else "neither",
            "Name the columns of the table in one of these ways.",
        )

    @property
    def names(self) -> dict[str, str]:
        """Options by the column that they name."""
        named = {"--row": self.row, "--annotator": self.annotator, "--label": self.label}
        given = {name: option for option, name in named.items() if name is not None}
        return {**given, **dict.fromkeys(self.wide, "--column")}


@dataclass(frozen=True, eq=False)
class NamedAnnotations:
    """Annotations with the names of rows, annotators and labels, in order of appearance.

    Attributes:
        data: The annotations by number.
        rows: Id of each row.
        annotators: Name of each annotator.
        labels: Label names, sorted if none were given.
        notes: Sentences on annotations that were left out.
    """

    data: AnnotatedRows
    rows: list[str]
    annotators: list[str]
    labels: list[str]
    notes: tuple[str, ...] = ()


def read_annotation_table(
    path: Path, columns: AnnotationColumns, labels: Sequence[str] = ()
) -> NamedAnnotations:
    """Read a table of annotations. Empty labels are no annotations, contradicting ones left out.

    Args:
        path: Table file.
        columns: Names of the columns; lists of labels and annotators have equal lengths.
        labels: Allowed labels; empty allows all.

    Raises:
        StudyError, InputError: The file cannot be read, a column is missing, a row or an annotator
            has no name, or labels are unknown.
    """
    columns.check()
    wanted = tuple(normalize_nfc(name) for name in columns.names)
    opened = read_file(path, ReadOptions(wanted=wanted), "annotations")
    _check_columns(opened, columns)
    entries, rows = _to_long(opened, columns)
    entries = entries.filter(pl.col(LABEL).is_not_null())
    for name in (ROW_NAME, ANNOTATOR):
        if count := entries[name].null_count():
            remedy = "Fill these cells, or remove the lines."
            raise InputError(f"{path}", f"the {name} of each label", f"{count:,} empty", remedy)
    if entries.is_empty():
        raise InputError(f"{path}", "one or more labels", "none", "Name the columns of labels.")
    entries, names = _match_labels(path, entries, labels)
    entries, notes = _leave_out_contradictions(entries)
    if entries.is_empty():
        remedy = "Keep one label of each row and annotator."
        raise InputError(f"{path}", "annotations without a contradiction", "none", remedy)
    annotators = entries[ANNOTATOR].unique(maintain_order=True).to_list()
    data = AnnotatedRows(
        _number(entries[ROW_NAME], rows),
        _number(entries[ANNOTATOR], annotators),
        _number(entries[LABEL], names),
        len(rows),
        len(annotators),
        len(names),
    )
    return NamedAnnotations(data, rows, annotators, names, notes)


def _check_columns(opened: RawTable, columns: AnnotationColumns) -> None:
    for name, option in columns.names.items():
        if normalize_nfc(name) not in opened.frame.columns:
            raise InputError(
                f"{option} {name}",
                f"a column of {opened.place}",
                f"the columns {join_some(opened.available, 20)}",
                suggest(name, opened.available) or "Name one of these columns.",
            )


def _to_long(opened: RawTable, columns: AnnotationColumns) -> tuple[pl.DataFrame, list[str]]:
    """One line an annotation, with row, annotator and label as text; and the ids of all rows."""
    frame = opened.frame
    row = frame[ROW] if columns.row is None else frame[normalize_nfc(columns.row)]
    ids = _to_words(row)
    if columns.wide:
        parts = [
            pl.DataFrame({ROW_NAME: ids, ANNOTATOR: [name] * len(ids),
                          LABEL: _to_words(frame[normalize_nfc(name)])})
            for name in columns.wide
        ]  # fmt: skip
        if columns.row is not None and (count := int(ids.is_duplicated().sum())):
            raise InputError(f"--row {columns.row}", "each row once", f"{count:,} lines with the "
                             "id of another line", "Remove the repeated lines.")  # fmt: skip
        return pl.concat(parts), ids.drop_nulls().unique(maintain_order=True).to_list()
    assert columns.annotator is not None
    assert columns.label is not None
    annotator = frame[normalize_nfc(columns.annotator)].alias(ANNOTATOR)
    label = frame[normalize_nfc(columns.label)].alias(LABEL)
    nested = pl.DataFrame([ids.alias(ROW_NAME), annotator, label])
    if isinstance(label.dtype, pl.List | pl.Array):
        if not isinstance(annotator.dtype, pl.List | pl.Array):
            raise InputError(f"--annotator {columns.annotator}", "lists, as of the labels",
                             f"{annotator.dtype}", "Name a column of lists.")  # fmt: skip
        if bool((annotator.list.len() != label.list.len()).any()):
            raise InputError(f"--label {columns.label}", "lists as long as those of the annotators",
                             "other lengths", "Correct these rows.")  # fmt: skip
        nested = nested.explode(ANNOTATOR, LABEL)
    elif columns.row is None:
        raise InputError("--row", "the column with the row's id", "nothing",
                         "Name it: in this table a line is an annotation.")  # fmt: skip
    words = nested.with_columns(_to_words(nested[name]) for name in (ANNOTATOR, LABEL))
    return words, ids.drop_nulls().unique(maintain_order=True).to_list()


def _to_words(column: pl.Series) -> pl.Series:
    """Cells as text without surrounding space; whole floats as whole numbers, null for empty."""
    if column.dtype.is_nested():
        raise InputError(f"column {column.name}", "text or numbers", f"{column.dtype}",
                         "Name another column.")  # fmt: skip
    whole = format_whole(column) if column.dtype.is_numeric() else None
    words = column.cast(pl.String) if whole is None else whole
    return words.str.strip_chars().str.normalize("NFC").replace("", None).alias(column.name)


def _match_labels(
    path: Path, entries: pl.DataFrame, labels: Sequence[str]
) -> tuple[pl.DataFrame, list[str]]:
    """Spell labels as the allowed ones; without any, all labels of the table are allowed."""
    words = entries[LABEL].unique().sort().to_list()
    if not labels:
        if len(words) < 2:
            raise InputError(f"{path}", "labels of two or more classes", f"{words[0]} alone",
                             "Name all labels with --labels.")  # fmt: skip
        return entries, words
    names = [normalize_nfc(label) for label in labels]
    matches = {word: parse_label(word, names) for word in words}
    unknown = [word for word, label in matches.items() if label in (None, choose_none_word(names))]
    if unknown:
        count = int(entries[LABEL].is_in(unknown).sum())
        shown = join_some(map(format_value, unknown), SHOWN)
        raise InputError(
            f"{path}",
            f"the labels {join_some(names)}",
            f"{count:,} other ones, such as {shown}",
            "Correct them, empty them, or add them to --labels.",
        )
    matched = entries[LABEL].replace_strict(matches, return_dtype=pl.String)
    return entries.with_columns(matched.alias(LABEL)), names


def _leave_out_contradictions(entries: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Leave out rows of an annotator with two labels, and note them; equal labels count once."""
    keys = [ROW_NAME, ANNOTATOR]
    distinct = entries.unique(maintain_order=True)
    is_bad = distinct.select(pl.struct(keys).is_duplicated()).to_series()
    bad = distinct.filter(is_bad)
    if bad.is_empty():
        return distinct, ()
    row, annotator, _ = bad.row(0)
    given = bad.filter((bad[ROW_NAME] == row) & (bad[ANNOTATOR] == annotator))[LABEL]
    count = bad.select(pl.struct(keys).n_unique()).item()
    note = (
        f"{count:,} times the same annotator gives a row different labels, such as {annotator} to "
        f"row {row}: {' and '.join(given)}. These annotations are left out"
    )
    return distinct.filter(~is_bad), (note,)


def _number(column: pl.Series, order: Sequence[str]) -> Tensor:
    positions = {name: i for i, name in enumerate(order)}
    return torch.tensor([positions[name] for name in column.to_list()])
