"""How many labels are wrong: what is known of it, and by what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SAMPLE, TRUSTED = "random sample", "trusted rows"


@dataclass(frozen=True)
class LabelCount:
    """An expected number of wrong labels.

    Attributes:
        expected: the number.
        low, high: ends of its 90 % interval.
        rows: that it is a count of; those that came after the draw are not among them.
        source: SAMPLE or TRUSTED.
    """

    expected: float
    low: float
    high: float
    rows: int
    source: str

    @property
    def share(self) -> float:
        """Of the rows that are counted."""
        return self.expected / max(1, self.rows)


def read_label_count(facts: Mapping[str, Any], label: str | None = None) -> LabelCount | None:
    """The count of wrong labels; None where nothing can know it.

    What labels and features say of each other leaves out every error that follows the text, so
    that no total and no share can be told by them. Only a random sample, or rows of certain label,
    can.

    Args:
        facts: of a search.
        label: given label; all if left out.
    """
    source, errors = facts.get("counted_by"), facts.get("errors")
    if source is None or errors is None:
        return None
    if label is not None:
        errors = facts["by_label"][label]
    return LabelCount(errors["expected"], errors["low"], errors["high"], errors["counted"], source)


def is_count_audited(facts: Mapping[str, Any]) -> bool:
    """Whether the count goes by rows that were drawn at random, and so holds for every error."""
    return facts.get("counted_by") == SAMPLE
