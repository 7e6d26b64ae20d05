"""Rows that are no text: columns of numbers and of kinds, or images, as the numbers they are."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.data.images import pixels_of
from tasks.data.readers import ROW, Opened
from tasks.study.errors import (
    Problem,
    StudyError,
    listed,
    show,
)
from tasks.study.sections import TableSource

SHOWN = 5
EXPECTED = "numbers, lists of as many numbers in every row, or text for kinds"
WHOLE = 2**53
"""Beyond it whole numbers that differ by one are one number in double precision."""
FEW = 30
"""Different rows, below which little can be said of each by the others."""
KINDS = 100
"""Kinds of a column that features have room for; see `fastif.mislabels.tabular`."""


@dataclass(frozen=True, eq=False)
class Measurements:
    """What rows are.

    Attributes:
        numbers: a column each, [n d]; NaN where a table has none.
        kinds: columns of words of which only the equality counts; None where a table has none.
        image: whether the numbers are the pixels of images.
        notes: of columns that were read otherwise than their name may lead one to expect.
    """

    numbers: np.ndarray
    kinds: Sequence[Sequence[str | None]]
    image: bool
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.numbers)

    def take(self, rows: Sequence[int]) -> "Measurements":
        """Some rows, in this order."""
        kinds = [[column[i] for i in rows] for column in self.kinds]
        return Measurements(self.numbers[list(rows)], kinds, self.image, self.notes)


def measured(source: TableSource, opened: Opened) -> tuple[Measurements, list[str]]:
    """The rows of a table, and each in words: what a person is shown, and what names its content.

    Raises:
        StudyError: a column is neither numbers nor kinds, or an image cannot be read.
    """
    if source.image is not None:
        column = opened.frame[source.image]
        pixels = pixels_of(column, opened.place)
        words = [f"image {hashlib.sha256(row.tobytes()).hexdigest()[:16]}" for row in pixels]
        return Measurements(pixels, [], image=True), words
    numbers, kinds, words, notes, problems = [], [], [], [], []
    for name in source.features:
        try:
            column = _column(opened.frame, name, is_typed=not opened.place.endswith(".csv"))
        except _UnreadableError as error:
            change = "correct these rows, or leave the column out of features"
            problems.append(Problem(f"column {name}", EXPECTED, error.args[0], change))
            continue
        if isinstance(column, np.ndarray):
            numbers.append(column)
        else:
            kinds.append(column)
        words.append(_told(name, opened.frame[name], column))
        notes += _notes(name, column)
    if problems:
        raise StudyError(opened.place, problems)
    table = np.concatenate(numbers, 1) if numbers else np.zeros((opened.frame.height, 0))
    rows = [", ".join(row) for row in zip(*words, strict=True)]
    notes += _few(rows)
    return Measurements(table, kinds, image=False, notes=tuple(notes)), rows


def _notes(name: str, column: np.ndarray | list[str | None]) -> list[str]:
    """What may not have been meant: a column of one value, numbers that are text, many kinds."""
    if isinstance(column, np.ndarray):
        several = ((column != column[:1]) & ~(np.isnan(column) & np.isnan(column[:1]))).any()
        return [] if several else [f"{name} holds one value in every row: it tells nothing"]
    kinds = {word for word in column if word is not None}
    if len({*column}) < 2:
        return [f"{name} holds one value in every row: it tells nothing"]
    plain = pl.Series(sorted(kinds), dtype=pl.String).str.replace(",", ".", literal=True)
    numbers = plain.cast(pl.Float64, strict=False).is_not_null()
    if 2 * numbers.sum() > len(kinds):
        odd = [word for word, number in zip(sorted(kinds), numbers, strict=True) if not number]
        why = f"such as {show(odd[0], 20)}" if odd else "numbers with a comma"
        return [f"{name} is read as {len(kinds)} kinds, not as numbers, since it holds {why}"]
    dates = pl.Series(sorted(kinds), dtype=pl.String).str.slice(0, 10).str.to_date(strict=False)
    if 2 * dates.is_not_null().sum() > len(kinds):
        return [
            f"{name} is read as {len(kinds)} kinds, though it holds dates: nothing of their order"
        ]
    many = f"{name} has {len(kinds)} kinds, of which the {KINDS} commonest are told apart"
    return [many] if len(kinds) > KINDS else []


def _few(rows: Sequence[str]) -> list[str]:
    """Rows that are alike never judge each other, so that few different ones hardly judge any."""
    different = len(set(rows))
    if not 1 < different < FEW <= len(rows):
        return []
    return [
        f"only {different} of {len(rows):,} rows are different, and each is judged by those unlike "
        "it: probabilities mean little; look at the labels of equal rows"
    ]


class _UnreadableError(ValueError):
    """Says what was got in place of numbers or kinds."""


def _column(frame: pl.DataFrame, name: str, is_typed: bool) -> np.ndarray | list[str | None]:
    """Numbers [n w], or kinds; text of a CSV file is numbers if all of it can be read as such."""
    column = frame[name]
    if isinstance(column.dtype, pl.List | pl.Array):
        return _finite(frame, _lists(frame, column))
    if column.dtype.is_integer():
        _check_whole(frame, column)
    if column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        return _finite(frame, column.cast(pl.Float64).to_numpy()[:, None])
    if not isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum):
        raise _UnreadableError(str(column.dtype))
    words = column.cast(pl.String).str.strip_chars().replace("", None)
    read = words.cast(pl.Float64, strict=False)
    if not is_typed and read.null_count() == words.null_count():
        _check_whole(frame, words.cast(pl.Int128, strict=False))
        return _finite(frame, read.to_numpy()[:, None])
    return words.to_list()


def _check_whole(frame: pl.DataFrame, column: pl.Series) -> None:
    size = column.cast(pl.Int128).abs() > WHOLE
    if size.any():
        got = f"a whole number beyond 2^53 in {_of(frame.filter(size.fill_null(False)))}"
        raise _UnreadableError(f"{got}, which would be rounded; an id? As text it is a kind")


def _lists(frame: pl.DataFrame, column: pl.Series) -> np.ndarray:
    lists = column.cast(pl.List(column.dtype.inner))  # type: ignore[attr-defined]
    lengths = lists.list.len()
    usual = lengths.mode().sort()[0] if len(lengths) else 0
    odd = frame.filter(lengths.is_null() | (lengths != usual))
    if len(odd) or usual is None or not lists.dtype.inner.is_numeric():  # type: ignore[attr-defined]
        found = f"{lists.dtype}" if odd.is_empty() else f"another length than {usual} in {_of(odd)}"
        raise _UnreadableError(found)
    return lists.explode().cast(pl.Float64).to_numpy().reshape(len(column), usual)


def _finite(frame: pl.DataFrame, found: np.ndarray) -> np.ndarray:
    found = found.astype(np.float64)
    odd = np.flatnonzero(np.isinf(found).any(1)).tolist()
    if odd:
        raise _UnreadableError(f"infinity in {_of(frame[odd])}")
    return found


def _of(bad: pl.DataFrame) -> str:
    return f"row {listed(map(str, bad[ROW].to_list()), SHOWN)}"


def _told(name: str, column: pl.Series, found: np.ndarray | list[str | None]) -> list[str]:
    """`age=39`; of a list how long it is and a digest, since a row's words name its content."""
    if isinstance(found, np.ndarray) and found.shape[1] != 1:
        digests = (hashlib.sha256(row.tobytes()).hexdigest()[:12] for row in found)
        return [f"{name}=[{found.shape[1]} numbers, {digest}]" for digest in digests]
    shown = column.cast(pl.String).fill_null("?") if not isinstance(found, list) else found
    return [f"{name}={'?' if value is None else _quoted(value)}" for value in shown]


def _quoted(kind: str) -> str:
    """A kind as it is; in quotes where it would be taken for more than one."""
    return json.dumps(kind, ensure_ascii=False) if set(kind) & set(',="') else kind
