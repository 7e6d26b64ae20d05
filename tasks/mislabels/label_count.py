"""Estimated number of wrong labels, and the source of the estimate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SAMPLE, TRUSTED = "random sample", "trusted rows"


@dataclass(frozen=True)
class LabelCount:
    """Estimated number of wrong labels.

    Attributes:
        expected: Point estimate, in rows.
        low: Lower bound of the 90 % confidence interval.
        high: Upper bound of the 90 % confidence interval.
        rows: Number of rows that the estimate covers, without those added after the random sample.
        source: Source of the estimate, `SAMPLE` or `TRUSTED`.
    """

    expected: float
    low: float
    high: float
    rows: int
    source: str

    @property
    def share(self) -> float:
        """Fraction of the covered rows that are wrong."""
        return self.expected / max(1, self.rows)


def read_label_count(facts: Mapping[str, Any], label: str | None = None) -> LabelCount | None:
    """Return the estimated number of wrong labels; None without a random sample or trusted rows.

    Labels and features alone do not identify the number: errors that the features predict look
    right to every classifier.

    Args:
        facts: Summary of a mislabel detection.
        label: Given label; all if omitted.
    """
    source, errors = facts.get("counted_by"), facts.get("errors")
    if source is None or errors is None:
        return None
    if label is not None:
        errors = facts["by_label"][label]
    return LabelCount(errors["expected"], errors["low"], errors["high"], errors["counted"], source)


def is_count_audited(facts: Mapping[str, Any]) -> bool:
    """Whether the estimate is from a random audit sample, and so covers errors of every kind."""
    return facts.get("counted_by") == SAMPLE
