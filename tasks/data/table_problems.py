"""Validation of the rows of a table: texts, labels and ids; problems quote the row numbers."""

from collections.abc import Iterator, Sequence

import polars as pl

from tasks.data.file_scanners import ROW
from tasks.data.raw_table import RawTable
from tasks.study.errors import (
    Problem,
    format_value,
    join_some,
    suggest,
)
from tasks.study.spelling import BLANK_CHARACTERS, describe_characters

MAX_SHOWN = 5
"""Largest number of rows that a message quotes for one problem."""


def find_text_problems(frame: pl.DataFrame, name: str) -> Iterator[Problem]:
    """Yield problems: null and empty texts."""
    missing = frame.filter(pl.col(name).is_null())
    blank = frame.filter(_is_blank(name))
    change = "fill these rows, or remove them from the table"
    if len(missing):
        yield Problem(
            f"column {name}", "a text in every row", f"null in {_format_rows(missing)}", change
        )
    if len(blank):
        got = f"an empty text in {_format_rows(blank)}"
        yield Problem(f"column {name}", "a text in every row", got, change)


def _is_blank(name: str) -> pl.Expr:
    """Expression for texts that consist of invisible characters only."""
    return pl.col(name).str.replace_all(BLANK_CHARACTERS, "") == ""


def find_label_problems(
    frame: pl.DataFrame,
    name: str,
    labels: Sequence[str],
    opened: RawTable,
    is_required: bool = True,
) -> Iterator[Problem]:
    """Yield problems: null labels if a label is required, and labels that are not in the study."""
    given = frame[[ROW, name]]  # select would copy all columns, embeddings too, into one chunk
    missing = given.filter(pl.col(name).is_null())
    if len(missing) and is_required:
        change = "label these rows, or remove them from the table"
        yield Problem(
            f"column {name}", "a label in every row", f"null in {_format_rows(missing)}", change
        )
    unknown = given.filter(~pl.col(name).is_in(list(labels)))
    if unknown.is_empty():
        return
    are_numbers = opened.frame[name].dtype.is_numeric() and name not in opened.class_names
    if are_numbers:
        change = 'set labels to these numbers, such as ["0", "1"], or write names into the column'
    else:
        hint = suggest(unknown[name][0], labels)
        change = hint or "correct these rows, or add the name to labels if the model has it"
        characters = "" if hint else describe_characters(unknown[name][0])
        change += f". It has {characters}" if characters else ""
    got = _format_rows(unknown, name)
    yield Problem(f"column {name}", f"one of {join_some(map(format_value, labels))}", got, change)


def find_id_problems(frame: pl.DataFrame, name: str) -> Iterator[Problem]:
    """Yield problems: null, empty and duplicate ids."""
    ids = frame[[ROW, name]]
    missing = ids.filter(pl.col(name).is_null() | _is_blank(name))
    if len(missing):
        change = "fill these rows, or remove the key id to use row numbers"
        got = f"null or empty in {_format_rows(missing)}"
        yield Problem(f"column {name}", "an id in every row", got, change)
    repeated = ids.filter(pl.col(name).is_not_null() & ~pl.col(name).is_first_distinct())
    if len(repeated):
        change = "make the ids unique, or remove the key id to use row numbers"
        got = f"duplicates in {_format_rows(repeated, name)}"
        yield Problem(f"column {name}", "unique ids", got, change)


def _format_rows(bad: pl.DataFrame, name: str | None = None) -> str:
    """Format row numbers as `rows 3, 8 and 9 more`, or with the values of a column."""
    numbers = bad[ROW].to_list()
    if name is None:
        return f"row{'s' if len(numbers) > 1 else ''} {join_some(map(str, numbers), MAX_SHOWN)}"
    values = bad[name].to_list()
    pairs = zip(numbers, values, strict=True)
    return join_some(
        (f"row {number}: {format_value(value, 40)}" for number, value in pairs), MAX_SHOWN
    )
