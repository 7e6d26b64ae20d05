"""Decimal mark of numbers in a text table, detected from its columns of features."""

import dataclasses
from collections.abc import Sequence

import polars as pl

from tasks.data.raw_table import RawTable
from tasks.data.undecided import UndecidedError
from tasks.study.errors import StudyError, format_value

POINT, COMMA = ".", ","
_GROUPED = r"^[+-]?[1-9]\d{0,2}(?:,\d{3})+$"
"""Whole number with commas between thousands."""


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

    A decimal comma is detected only if commas do not separate the cells too.

    Raises:
        UndecidedError: columns with points and columns with commas, or commas that may separate
            thousands.
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
    if opened.decimal is not None or not commas or opened.separator == COMMA:
        return dataclasses.replace(opened, decimal=opened.decimal or POINT)
    change = 'set decimal = "," to read such numbers; with decimal = "." they are categories'
    if points:
        got = f"commas in column {commas[0]}, points in column {points[0]}"
        raise UndecidedError("decimal", "the same decimal mark in all numbers", got, change)
    with_comma = [words[name].filter(words[name].str.contains(COMMA)) for name in commas]
    if all(column.str.contains(_GROUPED).all() for column in with_comma):
        got = f"{format_value(with_comma[0][0])} in column {commas[0]}, which may mean thousands"
        raise UndecidedError("decimal", "an unambiguous decimal mark", got, change)
    detected = {**opened.detected, "decimal": COMMA}
    return dataclasses.replace(opened, decimal=COMMA, detected=detected)


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
