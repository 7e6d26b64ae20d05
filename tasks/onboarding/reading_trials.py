"""Comparison of plausible columns by the model: the right ones make its losses low."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.optimize import linear_sum_assignment

from tasks.onboarding.column_profiles import format_values
from tasks.onboarding.label_names import order_by_names
from tasks.onboarding.model_trial import ModelTrial
from tasks.onboarding.text_columns import TextReading
from tasks.study.spelling import BLANK_CHARACTERS

ROWS, MORE_ROWS = 128, 512
"""Number of sampled rows, and of those for choices between which the first ones do not decide."""
MIN_T = 3.0
"""Value of the paired t-test on losses above which one choice is better than another."""


@dataclass(frozen=True, eq=False)
class ReadingTrial:
    """Losses of a model under one choice of text and label columns.

    Attributes:
        reading: Text column, or pair of them.
        label: Label column.
        losses: Cross-entropy of each sampled row, in nats.
        accuracy: Share of the sampled rows that are predicted correctly.
    """

    reading: TextReading
    label: str
    losses: np.ndarray
    accuracy: float

    def is_better_than(self, other: "ReadingTrial") -> bool:
        """Whether the losses are significantly lower than those of another choice.

        Choices that were measured on other rows have been decided before.
        """
        if len(other.losses) != len(self.losses):
            return bool(self.losses.mean() < other.losses.mean())
        difference = other.losses - self.losses
        deviation = difference.std(ddof=1) / len(difference) ** 0.5
        return bool(difference.mean() > MIN_T * max(deviation, 1e-12))


def sample_rows(frame: pl.DataFrame, count: int) -> pl.DataFrame:
    """Sample rows with a fixed seed, in the order of the table."""
    if len(frame) <= count:
        return frame
    rows = np.random.default_rng(0).choice(len(frame), count, replace=False)
    return frame[np.sort(rows).tolist()]


def read_texts(frame: pl.DataFrame, columns: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Return the first texts, and the second ones of pairs; missing texts are a hyphen."""
    texts = [
        frame[name].cast(pl.String).str.strip_chars().replace("", None).fill_null("-").to_list()
        for name in columns
    ]
    return texts[0], texts[1] if len(texts) > 1 else None


def try_readings(
    trial: ModelTrial,
    frame: pl.DataFrame,
    readings: Sequence[TextReading],
    labels: Sequence[str],
    names: Sequence[str],
) -> list[ReadingTrial]:
    """Measure the model's losses under every choice of text and label columns.

    Choices that are not significantly worse than the best are measured again on more rows.

    Args:
        trial: Loaded model.
        frame: Rows of the table.
        readings: Plausible texts.
        labels: Plausible label columns.
        names: Names of the model's outputs, in order.

    Returns:
        A trial of each choice, in the given order; none of a label that is also the text.
    """
    choices = [(reading, label) for reading in readings for label in labels]
    choices = [(r, label) for r, label in choices if label not in r.columns]
    if not choices:
        return []
    for name in labels:
        values = format_values(frame[name])
        frame = frame.filter(~values.str.contains(f"^{BLANK_CHARACTERS}*$").fill_null(True))
    trials = _measure(trial, sample_rows(frame, ROWS), choices, names)
    best = min(trials, key=lambda each: each.losses.mean())
    close = [each for each in trials if each is best or not best.is_better_than(each)]
    if len(close) == 1 or len(frame) <= ROWS:
        return trials
    again = [(each.reading, each.label) for each in close]
    repeated = iter(_measure(trial, sample_rows(frame, MORE_ROWS), again, names))
    return [next(repeated) if each in close else each for each in trials]


def _measure(
    trial: ModelTrial,
    rows: pl.DataFrame,
    choices: Sequence[tuple[TextReading, str]],
    names: Sequence[str],
) -> list[ReadingTrial]:
    """Measure the losses of some choices on the same rows; each text is predicted once."""
    texts = dict.fromkeys(reading.columns for reading, _ in choices)
    given = {label: format_values(rows[label]).to_list() for _, label in choices}
    outputs = {columns: trial.predict(*read_texts(rows, columns)) for columns in texts}
    return [
        _score(reading, label, given[label], outputs[reading.columns], names)
        for reading, label in choices
    ]


def _score(
    reading: TextReading,
    label: str,
    given: Sequence[str],
    log_probabilities: np.ndarray,
    names: Sequence[str],
) -> ReadingTrial:
    values = sorted(set(given))
    rows = np.array([values.index(value) for value in given])
    ordered = order_by_names(values, names)
    if ordered is not None:
        units = np.array([ordered.index(value) for value in values])
    else:  # the order of lowest loss
        sums = np.zeros((len(values), log_probabilities.shape[1]))
        np.add.at(sums, rows, log_probabilities)
        units = linear_sum_assignment(sums, maximize=True)[1]
    losses = -log_probabilities[np.arange(len(rows)), units[rows]]
    accuracy = float((log_probabilities.argmax(1) == units[rows]).mean())
    return ReadingTrial(reading, label, losses, accuracy)
