"""Notes on features whose text may be meant otherwise than it is read: formatted numbers, codes."""

from collections.abc import Iterator, Sequence

import polars as pl

from tasks.data.decimals import COMMA, GROUPED, POINT, parse_numbers, strip_cells
from tasks.data.raw_table import RawTable
from tasks.study.errors import format_value

MAX_KINDS = 100
"""Largest number of one-hot categories per column; see `fastif.mislabels.make_tabular_features`."""
_GROUPS = "|".join(rf"(?:{mark}\d{{3}})+" for mark in (r"\.", ",", "['’]", "_", r"\s"))  # noqa: RUF001
_FORMATTED = (
    rf"^[\s(]*[+\-−]?\s?\p{{Sc}}?\s?[+\-−]?(?:\d+|\d{{1,3}}(?:{_GROUPS}))(?:[.,]\d+)?"  # noqa: RUF001
    r"\s?[%‰\p{Sc})+\-−]*\s*$"  # noqa: RUF001
)
"""Number with signs that Polars does not parse: between thousands, of a currency, percent."""
_CODE = r"^[+-]?0\d"
_UNGROUPED = r"^[+-]?\d{1,3}$"


def describe_categories(
    name: str, categories: Sequence[str | None], opened: RawTable
) -> Iterator[str]:
    """Yield notes on categories: a single one, numbers or dates read as text, too many of them.

    Args:
        name: Name of the column.
        categories: Category of each row; None for missing values.
        opened: Columns of the table, with its decimal mark.
    """
    words = pl.Series(sorted({word for word in categories if word is not None}), dtype=pl.String)
    count = len(words)
    dates = words.str.slice(0, 10).str.to_date(strict=False)
    are_plain = _parse_each(words).is_not_null()
    if len({*categories}) < 2:
        yield f"{name} is constant and carries no information"
    elif 2 * are_plain.sum() > count:
        reason = _explain_text(words, are_plain, opened.is_typed)
        yield f"{name} is read as {count} categories, not as numbers, since it {reason}"
    elif 2 * dates.is_not_null().sum() > count:
        yield f"{name} is read as {count} categories: the order of its dates is not used"
    elif 2 * (are_plain | words.str.contains(_FORMATTED)).sum() > count:
        odd = format_value(words.filter(~are_plain)[0], 20)
        yield f"{name} is read as {count} categories, not as numbers, since it contains {odd}"
    elif count > MAX_KINDS:
        yield f"{name} has {count} categories: only the {MAX_KINDS} most frequent are used"


def find_odd_cell(words: pl.Series) -> str | None:
    """Return a text that keeps a column of numbers from being read as such; None for others.

    Args:
        words: Distinct texts of the column.
    """
    are_plain = _parse_each(words).is_not_null()
    are_numbers = are_plain | words.str.contains(_FORMATTED)
    if 2 * are_numbers.sum() <= len(words) or are_plain.all():
        return None
    return words.filter(~are_plain)[0]


def describe_parsed(name: str, opened: RawTable) -> Iterator[str]:
    """Yield notes on text that was parsed to numbers: codes, and points that may mean thousands.

    Args:
        name: Name of the column.
        opened: Columns of the table, with its decimal mark.
    """
    if opened.is_typed or opened.frame[name].dtype != pl.String:
        return
    words = strip_cells(opened.frame[name]).drop_nulls()
    codes = words.filter(words.str.contains(_CODE))
    if len(codes):
        yield (
            f"{name} is read as numbers, among them {format_value(codes[0], 20)}: codes such as "
            "postcodes are read as categories if they are text in a .parquet file"
        )
    grouped = words.str.contains(GROUPED[POINT])
    is_mixed = grouped.any() and not grouped.all()
    if opened.decimal != COMMA and is_mixed and (grouped | words.str.contains(_UNGROUPED)).all():
        cell = words.filter(grouped)[0]
        number = float(cell) if cell.count(POINT) == 1 else cell
        yield f"{name} is read with decimal points: {format_value(cell)} is {number}, no thousands"


def _parse_each(words: pl.Series) -> pl.Series:
    """Parse each text to a number, with a decimal point or comma; null for others."""
    return words.str.replace(COMMA, POINT, literal=True).cast(pl.Float64, strict=False)


def _explain_text(words: pl.Series, are_plain: pl.Series, is_typed: bool) -> str:
    if not are_plain.all():
        return f"contains {format_value(words.filter(~are_plain)[0], 20)}"
    if is_typed:
        return "is text in the file: save it as numbers to read them as numbers"
    if parse_numbers(words, COMMA) is None:
        return "contains decimal points and decimal commas: write all of them alike"
    marked = words.filter(words.str.contains(COMMA, literal=True))
    if marked.str.contains(GROUPED[COMMA]).all():
        return f"contains {format_value(marked[0])}, which may mean thousands: write no commas"
    return 'contains numbers with a decimal comma; set decimal = "," to read them as numbers'
