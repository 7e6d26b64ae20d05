"""Pairs of given and suggested label among the suspicious rows, the most frequent first."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.mislabels.suspicious_count import MIN_SCORE
from tasks.report.formatting import Row


@dataclass(frozen=True)
class LabelPair:
    """Suspicious rows with one given and one suggested label.

    Attributes:
        given: Given label.
        suggested: Suggested label.
        rows: Number of suspicious rows with both.
        reverse: Number of suspicious rows with the two labels exchanged.
    """

    given: str
    suggested: str
    rows: int
    reverse: int


def count_label_pairs(rows: Sequence[Row]) -> list[LabelPair]:
    """Count the pairs of labels of the rows that the score calls more likely wrong than right.

    Examples:
        >>> first = {"label": "a", "suggested": "b", "probability": 0.9}
        >>> second = {"label": "b", "suggested": "a", "probability": 0.6}
        >>> count_label_pairs([first, first, second, second | {"probability": 0.1}])[0]
        LabelPair(given='a', suggested='b', rows=2, reverse=1)

    Args:
        rows: Rows with `label`, `suggested` and `probability`.
    """
    certain = [row for row in rows if (row["probability"] or 0.0) >= MIN_SCORE]
    counts = Counter((row["label"], row["suggested"]) for row in certain)
    order = sorted(counts, key=lambda pair: (-counts[pair], *pair))
    return [LabelPair(*pair, counts[pair], counts[pair[::-1]]) for pair in order]
