"""Decimal mark of numbers in a text table, detected from its columns of features."""

import dataclasses
from collections.abc import Mapping, Sequence

import polars as pl

from tasks.data.raw_table import RawTable
from tasks.data.undecided import UndecidedError
from tasks.study.errors import StudyError, format_value

POINT, COMMA = ".", ","
GROUPED = {
    POINT: r"^[+-]?[1-9]\d{0,2}(?:\.\d{3})+$",
    COMMA: r"^[+-]?[1-9]\d{0,2}(?:,\d{3})+$",
}
"""Whole number with points, or commas, between thousands."""
SEMICOLON = ";"
"""Separator of cells where a decimal comma is usual, and points may separate thousands."""
_CHANGES = {
    POINT: 'set decimal = "." to read such numbers, or write thousands without points',
    COMMA: 'set decimal = "," to read such numbers; with decimal = "." they are categories',
}


def strip_cells(column: pl.Series) -> pl.Series:
    """Cells of a column as text without surrounding space; null for empty ones."""
    return column.cast(pl.String).str.strip_chars().replace("", None)


def parse_numbers(words: pl.Series, decimal: str) -> pl.Series | None:
    """Parse text to numbers; None if not all of it is numbers with this decimal mark."""
    if decimal == COMMA:
        if words.str.contains(POINT, literal=True).any():
            return None
        words = words.str.replace(COMMA, POINT, literal=True)
    numbers = words.cast(pl.Float64, strict=False)
    return numbers if numbers.null_count() == words.null_count() else None


def detect_decimal(opened: RawTable, features: Sequence[str]) -> RawTable:
    """Decide the decimal mark of a text table: that of the study, or the detected one.

    A decimal comma is detected only if commas do not separate the cells too. Points may separate
    thousands only if semicolons separate the cells, as where a decimal comma is usual.

    Raises:
        UndecidedError: columns with points and columns with commas, or commas or points that may
            separate thousands.
    """
    if opened.is_typed:
        return opened
    words = {name: strip_cells(opened.frame[name]) for name in features if _is_text(opened, name)}
    points = [name for name, column in words.items() if _has_mark(column, POINT)]
    commas = [name for name, column in words.items() if _has_mark(column, COMMA)]
    if opened.decimal == COMMA and points:
        got = f"decimal points in column {points[0]}"
        change = "write these numbers with a comma, or remove the column from features"
        raise UndecidedError("decimal", "numbers with a decimal comma", got, change)
    if opened.decimal is None and opened.separator == SEMICOLON and points and not commas:
        _check_thousands({name: words[name] for name in points}, POINT)
    if opened.decimal is not None or not commas or opened.separator == COMMA:
        return dataclasses.replace(opened, decimal=opened.decimal or POINT)
    if points:
        got = f"commas in column {commas[0]}, points in column {points[0]}"
        raise UndecidedError(
            "decimal", "the same decimal mark in all numbers", got, _CHANGES[COMMA]
        )
    _check_thousands({name: words[name] for name in commas}, COMMA)
    detected = {**opened.detected, "decimal": COMMA}
    return dataclasses.replace(opened, decimal=COMMA, detected=detected)


def _check_thousands(columns: Mapping[str, pl.Series], mark: str) -> None:
    """Refuse columns whose marks may all separate thousands.

    Raises:
        UndecidedError: such columns.
    """
    marked = {
        name: words.filter(words.str.contains(mark, literal=True))
        for name, words in columns.items()
    }
    if all(words.str.contains(GROUPED[mark]).all() for words in marked.values()):
        name = next(iter(marked))
        got = f"{format_value(marked[name][0])} in column {name}, which may mean thousands"
        raise UndecidedError("decimal", "an unambiguous decimal mark", got, _CHANGES[mark])


def decide_decimal(opened: RawTable, features: Sequence[str], role: str) -> RawTable:
    """Decide the decimal mark of a section's table; see `detect_decimal`.

    Raises:
        StudyError: a decimal mark that the cells do not decide, or contradict.
    """
    try:
        return detect_decimal(opened, features)
    except UndecidedError as error:
        raise StudyError(opened.place, [error.make_problem(role)]) from None


def _is_text(opened: RawTable, name: str) -> bool:
    return opened.frame[name].dtype == pl.String


def _has_mark(words: pl.Series, mark: str) -> bool:
    """Whether all cells are numbers, and some have this decimal mark."""
    return parse_numbers(words, mark) is not None and words.str.contains(mark, literal=True).any()
