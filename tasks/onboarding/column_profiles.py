"""Profiles of columns: kind of the values, number of distinct ones, length of texts."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from tasks.data.image_files import SUFFIXES
from tasks.study.spelling import BLANK_CHARACTERS

Kind = Literal["text", "number", "date", "boolean", "list", "bytes", "image", "other", "empty"]
MAX_VALUES = 1000
"""Largest number of distinct values that are listed in a profile."""
MAX_SHAPES = 3
"""Largest number of shapes of values that look like codes, such as dates or ticket numbers."""
MAX_CODE_WORDS = 4.0
"""Mean number of words above which values are texts, not codes."""
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
NESTED = (pl.List, pl.Array, pl.Struct, pl.Binary, pl.Duration, pl.Object)
"""Types whose values are not compared as text."""
IMAGE_FILES = rf"\.(?:{'|'.join(suffix[1:] for suffix in SUFFIXES)})$"
WHOLE_NUMBER = r"^[+-]?\d+(?:[.,]0+)?$"
LINKS = r"^(?:https?://|www\.|[\w./\\-]+\.(?:png|jpe?g|gif|bmp|webp|tiff?)$)"


@dataclass(frozen=True)
class ColumnProfile:
    """Profile of one column of a table.

    Attributes:
        name: Name of the column.
        kind: Kind of the values; text that can be read as numbers or dates is a number or date,
            and paths of image files are images.
        rows: Number of rows of the table.
        blank: Number of rows without a value.
        distinct: Number of distinct values.
        values: Number of rows of each value as text; empty if there are more than MAX_VALUES.
        words: Mean number of words of a value.
        characters: Mean number of characters of a value.
        is_whole: Whether every value is a whole number.
        is_code: Whether the values are links, or strings of one pattern, such as ticket numbers.
    """

    name: str
    kind: Kind
    rows: int
    blank: int
    distinct: int
    values: dict[str, int]
    words: float = 0.0
    characters: float = 0.0
    is_whole: bool = False
    is_code: bool = False

    @property
    def is_unique(self) -> bool:
        """Whether every row has a value of its own."""
        return self.distinct == self.rows > 0 and not self.blank

    @property
    def distinct_share(self) -> float:
        """Distinct values among the rows that have one."""
        return self.distinct / max(self.rows - self.blank, 1)


def profile_columns(frame: pl.DataFrame) -> dict[str, ColumnProfile]:
    """Profile all columns of a table, in their order.

    Args:
        frame: Rows of the table; columns of CSV files may still be text.
    """
    return {name: profile_column(frame[name]) for name in frame.columns if name.strip()}


def profile_column(column: pl.Series) -> ColumnProfile:
    """Profile one column."""
    name, dtype = column.name, column.dtype
    if isinstance(dtype, NESTED):
        kind = _find_nested_kind(dtype)
        return ColumnProfile(name, kind, len(column), column.null_count(), len(column), {})
    words = format_values(column)
    present = words.filter(words.is_not_null() & ~words.str.contains(f"^{BLANK_CHARACTERS}*$"))
    counts = present.value_counts(sort=True)
    blank = len(column) - len(present)
    values = dict(counts.iter_rows()) if len(counts) <= MAX_VALUES else {}
    return ColumnProfile(
        name,
        _find_kind(column, present),
        len(column),
        blank,
        len(counts),
        values,
        _count_words(present),
        float(present.str.len_chars().mean() or 0.0),  # type: ignore[arg-type]
        _is_whole(column, present),
        _is_code(present),
    )


def format_values(column: pl.Series) -> pl.Series:
    """Return the values as the text by which labels, ids and groups are compared."""
    if column.dtype.is_float() and _is_whole(column, column.drop_nulls().drop_nans()):
        column = column.fill_nan(None).cast(pl.Int64)
    elif column.dtype.is_decimal() and _is_whole(column, column.drop_nulls()):
        column = column.cast(pl.Int64)
    words = column.cast(pl.String, strict=False).str.normalize("NFC")
    if column.dtype == pl.String and words.drop_nulls().str.contains(WHOLE_NUMBER).all():
        return words.str.replace(r"[.,]0+$", "")  # 1.0 in one table may be 1 in the other
    return words


def _find_nested_kind(dtype: pl.DataType) -> Kind:
    """Return the kind of bytes, records and lists; the `datasets` library writes image records."""
    if isinstance(dtype, pl.Duration | pl.Object):
        return "other"
    if isinstance(dtype, pl.Struct):
        holds_bytes = any(field.dtype == pl.Binary for field in dtype.fields)
        return "bytes" if holds_bytes else "other"
    if isinstance(dtype, pl.List | pl.Array):
        return "list" if dtype.inner.is_numeric() else "other"  # type: ignore[union-attr]
    return "bytes"


def _find_kind(column: pl.Series, present: pl.Series) -> Kind:
    if present.is_empty():
        return "empty"
    if column.dtype == pl.Boolean:
        return "boolean"
    if column.dtype.is_numeric():
        return "number"
    if column.dtype.is_temporal():
        return "date"
    sample = present.unique(maintain_order=True).head(MAX_VALUES)
    if sample.str.to_lowercase().str.contains(IMAGE_FILES).all():
        return "image"
    numbers = sample.str.replace(r"^(\s*[+-]?\d+),(\d+\s*)$", "$1.$2")
    if numbers.cast(pl.Float64, strict=False).is_not_null().all():
        return "number"
    if sample.str.contains(r"^\d").all() and _are_dates(sample):
        return "date"
    return "text"


def _are_dates(sample: pl.Series) -> bool:
    """Whether all values begin with a date, in one of the usual orders."""
    dates = sample.str.strip_chars().str.slice(0, 10)
    formats = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y%m%d")
    return any(dates.str.to_date(form, strict=False).is_not_null().all() for form in formats)


def _count_words(present: pl.Series) -> float:
    """Return the mean number of words; two characters of a script without spaces are a word."""
    words = present.str.count_matches(r"\S+") + present.str.count_matches(UNSPACED) / 2
    return float(words.mean() or 0.0)  # type: ignore[arg-type]


def _is_whole(column: pl.Series, present: pl.Series) -> bool:
    if present.is_empty():
        return False
    if column.dtype.is_integer():
        return True
    if column.dtype.is_float():
        finite = column.drop_nulls().drop_nans()
        return bool(finite.is_finite().all() and (finite == finite.round()).all())
    if column.dtype.is_decimal():
        return bool((column.drop_nulls() % 1 == 0).all())
    return column.dtype == pl.String and bool(
        present.str.contains(r"^\s*[+-]?\d+(?:\.0*)?\s*$").all()
    )


def _is_code(present: pl.Series) -> bool:
    """Whether values are links or codes: few patterns once their words and numbers are replaced."""
    sample = present.unique(maintain_order=True).head(MAX_VALUES)
    if len(sample) < 2 or _count_words(sample) > MAX_CODE_WORDS:
        return False
    if sample.str.contains(LINKS).all():
        return True
    has_digits = sample.str.contains(r"\d").mean() or 0.0
    shapes = sample.str.replace_all(r"\p{L}+", "a").str.replace_all(r"\d+", "0").n_unique()
    return float(has_digits) > 0.9 and shapes <= MAX_SHAPES  # type: ignore[arg-type]
