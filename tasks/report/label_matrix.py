"""Matrix of label pairs: true and predicted labels of queries, given and suggested ones of rows."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.report.formatting import make_short_names

MAX_LABELS, MAX_NAME_CHARS = 10, 60
"""Most labels on a side of a matrix; the remaining ones are counted together."""

OTHERS = "(others)"

Pair = tuple[str | None, str | None]


@dataclass(frozen=True)
class MatrixCell:
    """Number of pairs of two labels.

    Attributes:
        row: Name of the first label.
        column: Name of the second label.
        count: Number of pairs.
        listed: Number of them in the table that the matrix filters.
        is_agreement: Whether both labels are the same one.
        tint: Share of the largest count of two different labels, from 0 to 1; 0 for an agreement.
    """

    row: str
    column: str
    count: int
    listed: int
    is_agreement: bool
    tint: float

    @property
    def is_filter(self) -> bool:
        """Whether the table has rows of these two labels that a filter can select."""
        return self.listed > 0 and OTHERS not in (self.row, self.column)


@dataclass(frozen=True)
class LabelMatrix:
    """Counts of label pairs.

    Attributes:
        names: Unique short name of each label.
        columns: Names of the second labels.
        rows: Cells of each first label, in the order of the columns.
    """

    names: Mapping[str | None, str]
    columns: list[str]
    rows: list[list[MatrixCell]]


def make_label_matrix(pairs: Iterable[Pair], listed: Iterable[Pair]) -> LabelMatrix:
    """Count pairs of labels.

    With more than ten labels, those with the most pairs of two different labels are kept, and the
    others are counted together.

    Args:
        pairs: Pairs of labels; None stands for no label.
        listed: Pairs of the rows that the table next to the matrix has.

    Examples:
        >>> matrix = make_label_matrix([("a", "b"), ("a", "b"), ("b", "b")], [("a", "b")])
        >>> [[cell.count for cell in row] for row in matrix.rows]
        [[0, 2], [0, 1]]
    """
    counts, listed_counts = Counter(pairs), Counter(listed)
    labels = sorted({label for pair in counts | listed_counts for label in pair}, key=_sort_key)
    names = make_short_names(labels, MAX_NAME_CHARS)
    kept = _select_labels(counts, labels)
    merged, merged_listed = (_merge_pairs(each, kept, names) for each in (counts, listed_counts))
    order = [names[label] for label in labels if label in kept] + [OTHERS]
    firsts = {first for first, _ in merged} | {names[label] for label in kept if label is not None}
    seconds = {second for _, second in merged} | (firsts - {OTHERS})
    largest = max((n for (a, b), n in merged.items() if a != b), default=1)
    columns = [name for name in order if name in seconds]
    rows = [
        [_make_cell(row, column, merged, merged_listed, largest) for column in columns]
        for row in order
        if row in firsts
    ]
    return LabelMatrix(names, columns, rows)


def _sort_key(label: str | None) -> tuple[bool, str]:
    return label is None, label or ""


def _select_labels(counts: Counter[Pair], labels: list[str | None]) -> set[str | None]:
    """Labels with the most pairs of two different labels."""
    confused: Counter[str | None] = Counter()
    for (first, second), count in counts.items():
        if first != second:
            confused[first] += count
            confused[second] += count
    return set(sorted(labels, key=lambda label: -confused[label])[:MAX_LABELS])


def _merge_pairs(
    counts: Counter[Pair], kept: set[str | None], names: Mapping[str | None, str]
) -> Counter[tuple[str, str]]:
    merged: Counter[tuple[str, str]] = Counter()
    for pair, count in counts.items():
        first, second = (names[label] if label in kept else OTHERS for label in pair)
        merged[first, second] += count
    return merged


def _make_cell(
    row: str,
    column: str,
    counts: Counter[tuple[str, str]],
    listed: Counter[tuple[str, str]],
    largest: int,
) -> MatrixCell:
    count, is_agreement = counts[row, column], row == column != OTHERS
    tint = 0.0 if is_agreement else min(1.0, count / largest)
    return MatrixCell(row, column, count, listed[row, column], is_agreement, tint)
