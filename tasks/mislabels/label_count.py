"""Estimated number of wrong labels, from a random audit sample."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SAMPLE = "random sample"
"""Source of an estimate. Earlier versions also counted by trusted rows."""


@dataclass(frozen=True)
class LabelCount:
    """Estimated number of wrong labels.

    Attributes:
        expected: Point estimate, in rows; None with too few annotations.
        low: Lower bound of the 90 % confidence interval.
        high: Upper bound of the 90 % confidence interval.
        rows: Number of rows that the estimate covers, without those added after the random sample.
    """

    expected: float | None
    low: float
    high: float
    rows: int

    @property
    def share(self) -> float | None:
        """Fraction of the covered rows that are wrong."""
        return None if self.expected is None else self.expected / max(1, self.rows)


def read_label_count(facts: Mapping[str, Any], label: str | None = None) -> LabelCount | None:
    """Return the estimated number of wrong labels; None without a random audit sample.

    Labels, features and trusted rows do not identify the number: errors that the features predict
    look right to every classifier.

    Args:
        facts: Summary of a mislabel detection.
        label: Given label; all if omitted.
    """
    errors = facts.get("errors")
    if facts.get("counted_by") != SAMPLE or errors is None:
        return None
    return make_label_count(errors if label is None else facts["by_label"][label])


def make_label_count(errors: Mapping[str, Any]) -> LabelCount:
    """Return an estimate as it is in the summary."""
    return LabelCount(errors["expected"], errors["low"], errors["high"], errors["counted"])
