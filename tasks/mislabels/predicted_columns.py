"""Interpretation of a table's column as labels, class positions or a score of a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from fastif import InputError
from tasks.data.decimals import POINT, parse_numbers, strip_cells
from tasks.mislabels.class_positions import decode_positions
from tasks.mislabels.label_words import choose_none_word, parse_label
from tasks.study.errors import format_value, join_some

NO_PREDICTION = -1
"""Value of `ClassifierColumn.predicted` for a row without a prediction."""
MIN_PROBABILITY = 0.005
"""Least probability, and distance from 1, of a score that is a probability."""
MAX_DEVIATIONS = 10.0
"""Largest distance of a score from its mean, in standard deviations."""
MAX_SHOWN, MAX_UNKNOWN = 3, 20
"""Number of unknown words that are shown, and after which no further ones are searched."""
WHERE = "[mislabels] judges"
"""Place of the key in messages."""


@dataclass(frozen=True, eq=False)
class ClassifierColumn:
    """Predictions of a classifier in the user's table, in the order of its rows.

    Attributes:
        name: Entry of `[mislabels] judges`.
        kind: Description of the cells for the summary, such as labels.
        predicted: Position of the predicted label in the study, or `NO_PREDICTION`, [n]; None for
            numbers.
        outputs: Class logits [n, c], or scores [n, 1]; NaN without a prediction; None for labels.
    """

    name: str
    kind: str
    predicted: np.ndarray | None = None
    outputs: np.ndarray | None = None


def interpret_column(
    name: str,
    column: pl.Series,
    labels: Sequence[str],
    given: np.ndarray,
    decimal: str | None = None,
) -> ClassifierColumn:
    """Interpret one column: names of labels first, then class positions, then a score.

    Empty cells and NaN are rows without a prediction. Whole numbers are names of labels where the
    labels are numbers. Else they are class positions if they agree with the given labels, and with
    no other order of the classes. All other numbers are a score, whose direction is calibrated.

    Args:
        name: Entry of `[mislabels] judges`.
        column: Cells with text, truth values or numbers.
        labels: Label names of the study.
        given: Position of each row's given label, [n].
        decimal: Decimal mark of numbers in text.

    Raises:
        InputError: Unknown labels, numbers that may be positions in another order, infinite
            numbers, or no prediction at all.
    """
    if column.dtype == pl.Boolean:
        column = column.cast(pl.String)
    is_text = not column.dtype.is_numeric()
    words = strip_cells(column) if is_text else format_whole(column)
    if words is not None and words.null_count() == len(words):
        raise _make_empty_error(name, len(words))
    unknown: list[str] = []
    if words is not None:
        predicted, unknown = _match_labels(words, labels)
        if not unknown:
            return ClassifierColumn(name, "labels", predicted=predicted)
    numbers = _parse_scores(column, decimal or POINT) if is_text else column.cast(pl.Float64)
    if numbers is None:
        assert words is not None
        raise _make_unknown_error(name, words, unknown, labels)
    values = numbers.fill_null(np.nan).to_numpy()
    if np.isinf(values).any():
        row = int(np.isinf(values).argmax()) + 1
        raise InputError(f"{WHERE}: {name}", "finite numbers", f"infinity in row {row}",
                         "Correct the cell, or empty it.")  # fmt: skip
    return _interpret_numbers(name, values, labels, given)


def _interpret_numbers(
    name: str, values: np.ndarray, labels: Sequence[str], given: np.ndarray
) -> ClassifierColumn:
    """Interpret numbers that are no names of labels: class positions, or a score."""
    has = ~np.isnan(values)
    if not has.any():
        raise _make_empty_error(name, len(values))
    is_whole = bool((values[has] == np.round(values[has])).all())
    if is_whole and values[has].min() >= 0 and values[has].max() <= len(labels):
        predicted = decode_positions(values, given, len(labels))
        if predicted is not None:
            return ClassifierColumn(name, "class positions", predicted=predicted)
        if len(labels) > 2:
            raise InputError(
                f"{WHERE}: {name}",
                "names of labels",
                "whole numbers that do not agree with the given labels as class positions in the "
                "order of labels",
                f"Write names of labels, such as {format_value(labels[0])}, in the column.",
            )
    return ClassifierColumn(name, "a score", outputs=_standardize(values)[:, None])


def _standardize(values: np.ndarray) -> np.ndarray:
    """Log-odds of probabilities, or standard scores of other numbers; NaN stays NaN."""
    present = values[~np.isnan(values)]
    if present.min() >= 0 and present.max() <= 1:
        clipped = np.clip(values, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        return np.log(clipped) - np.log1p(-clipped)
    middle = np.median(present)
    # Halves first: the difference of two large numbers may overflow.
    halves = values / 2 - middle / 2
    spread = np.abs(halves[~np.isnan(halves)])
    largest = spread.max()
    scale = largest * np.sqrt(np.square(spread / largest).mean()) if largest else 1.0
    return np.clip(halves / scale, -MAX_DEVIATIONS, MAX_DEVIATIONS)


def format_whole(column: pl.Series) -> pl.Series | None:
    """Format whole numbers as text; None if there are fractions."""
    if column.dtype.is_integer():
        return column.cast(pl.String)
    values = column.cast(pl.Float64).fill_nan(None)
    whole = (values == values.floor()) & (values.abs() < 2.0**53)
    return values.cast(pl.Int64).cast(pl.String) if whole.fill_null(True).all() else None


def _match_labels(words: pl.Series, labels: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Positions of the labels that cells name, and words that name none."""
    positions = {label: i for i, label in enumerate(labels)}
    none_word = choose_none_word(labels)
    codes: dict[str | None, int] = {None: NO_PREDICTION}
    unknown: list[str] = []
    for word in words.drop_nulls().unique().sort().to_list():
        label = parse_label(word, labels)
        if label is not None and label != none_word:
            codes[word] = positions[label]
        elif len(unknown) < MAX_UNKNOWN:
            unknown.append(word)
        else:  # such as the numbers of a large table, all of them different
            break
    if unknown:
        return np.zeros(0), unknown
    return np.array([codes[word] for word in words.to_list()]), []


def _parse_scores(column: pl.Series, decimal: str) -> pl.Series | None:
    """Parse text to numbers, with NaN for `nan`; None if some of it is no number."""
    words = strip_cells(column)
    return parse_numbers(words, decimal)


def _make_empty_error(name: str, rows: int) -> InputError:
    return InputError(
        f"{WHERE}: {name}",
        "one or more rows with a prediction",
        f"{rows:,} empty cells",
        "Fill the column, or remove it from judges.",
    )


def _make_unknown_error(
    name: str, words: pl.Series, unknown: Sequence[str], labels: Sequence[str]
) -> InputError:
    rows, least = int(words.is_in(list(unknown)).sum()), ""
    if len(unknown) == MAX_UNKNOWN:
        least = " or more"
    shown = join_some([format_value(word) for word in unknown], MAX_SHOWN)
    return InputError(
        f"{WHERE}: {name}",
        f"labels of the study ({join_some(labels, 6)}), numbers or empty cells",
        f"{rows:,}{least} rows with other text: {shown}",
        "Write names of labels, and leave cells without a prediction empty.",
    )
