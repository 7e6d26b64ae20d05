"""Conversion of labels, ids, groups and texts to text; columns of other types are refused."""

from collections.abc import Sequence

import polars as pl

from tasks.data.columns import list_columns
from tasks.data.file_scanners import ROW
from tasks.data.raw_table import RawTable
from tasks.study.errors import Problem, StudyError, format_value, join_some
from tasks.study.sections import TableSource

TEXT, WHOLE, ANY = "text", "text or whole numbers", "text, numbers or dates"
MAX_SHOWN = 5
_WHOLE_NUMBER = r"^[+-]?\d+(?:[.,]0+)?$"


def cast_to_text(source: TableSource, opened: RawTable, labels: Sequence[str]) -> pl.DataFrame:
    """Cast every column of text, labels, ids and groups to text.

    Whole numbers and true/false are allowed except in a text column, also as floats such as 1.0,
    which pandas makes of whole numbers with a gap. Groups can also be fractions or dates, ids also
    dates and UUIDs. An absent second text is an empty text.

    Raises:
        StudyError: columns of other types.
    """
    frame, problems = opened.frame, []
    roles = dict.fromkeys(source.groups, ANY)
    roles |= {name: WHOLE for name in (source.label, source.id) if name}
    roles |= dict.fromkeys(source.text, TEXT)
    for name, expected in roles.items():
        column = frame[name]
        if name == source.label and name in opened.class_names:
            names = dict(enumerate(opened.class_names[name]))
            column = column.replace_strict(names, default=None, return_dtype=pl.String)
        if not _is_readable(column.dtype, expected, is_id=name == source.id):
            problems.append(_make_type_problem(name, expected, column.dtype))
            continue
        is_name = expected == WHOLE
        if is_name and column.dtype.is_float() and (odd := _find_fractions(column)):
            problems.append(_make_fraction_problem(frame, name, expected, odd))
            continue
        words = _format_label(column, labels) if name == source.label else _format(column, is_name)
        # Names are normalized for comparison; texts are passed to the tokenizer unchanged.
        words = words if name in source.text else words.str.normalize("NFC")
        words = words.fill_null("") if name in source.text[1:] else words
        frame = frame.with_columns(words.alias(name))
    if problems:
        raise StudyError(opened.place, problems)
    return frame


def _is_readable(dtype: pl.DataType, expected: str, is_id: bool) -> bool:
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Null):
        return True
    if expected == TEXT:
        return False
    is_date = dtype.is_temporal() and not isinstance(dtype, pl.Duration)
    is_number = dtype.is_numeric() or dtype == pl.Boolean
    return is_number or (is_date and (is_id or expected == ANY))


def _format(column: pl.Series, is_name: bool) -> pl.Series:
    """Format a column as text; whole floats and decimals of names as whole numbers."""
    if is_name and column.dtype.is_float():
        return column.fill_nan(None).cast(pl.Int64).cast(pl.String)
    if is_name and column.dtype.is_decimal():
        return _strip_zeros(column.cast(pl.String))
    return column.cast(pl.String)


def _format_label(column: pl.Series, labels: Sequence[str]) -> pl.Series:
    """Format labels as text; the spelling of whole numbers, 1 or 1.0, is that of the study."""
    words = _format(column, is_name=True)
    spellings = [words, words.str.normalize("NFC")]
    if column.dtype.is_float():
        spellings.append(column.fill_nan(None).cast(pl.String))
    elif column.dtype == pl.String and words.drop_nulls().str.contains(_WHOLE_NUMBER).all():
        spellings.append(_strip_zeros(words))
    return next((s for s in spellings if s.drop_nulls().is_in(list(labels)).all()), words)


def _strip_zeros(words: pl.Series) -> pl.Series:
    return words.str.replace(r"[.,]0+$", "")


def _find_fractions(column: pl.Series) -> list[int]:
    """Positions of floats that are no whole numbers, or too large to be exact."""
    limit = 2.0**24 if column.dtype == pl.Float32 else 2.0**53
    values = column.fill_nan(None)
    is_whole = (values == values.floor()) & (values.abs() <= limit)
    return (~is_whole.fill_null(True)).arg_true().to_list()


def _make_fraction_problem(
    frame: pl.DataFrame, name: str, expected: str, odd: Sequence[int]
) -> Problem:
    rows = [f"row {frame[ROW][i]}: {format_value(frame[name][i])}" for i in odd]
    got = f"{frame[name].dtype} with {join_some(rows, MAX_SHOWN)}"
    change = "use another column, or save this one as text"
    return Problem(f"column {name}", expected, got, change)


def _make_type_problem(name: str, expected: str, dtype: pl.DataType) -> Problem:
    change = "use another column, or save this one as text"
    if isinstance(dtype, pl.Struct):
        fields = [f'"{name}.{field}"' for field in list_columns(dict(dtype))]
        change = f"name one of its fields: {join_some(fields)}"
    return Problem(f"column {name}", expected, str(dtype), change)
