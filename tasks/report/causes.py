"""Causes of errors: properties that the most harmful training rows of a query share."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from tasks.report.duplicates import Duplicates
from tasks.report.formatting import Row
from tasks.report.run_data import RunData
from tasks.results.group_names import format_group_value

COMMON = 10
"""Number of the most harmful rows of a query that are compared with each other."""

MAX_P_VALUE = 0.01
"""Largest p-value (binomial test) at which a shared property of harmful rows is reported."""

NEAR_DUPLICATES = "(near-duplicates)"


@dataclass(frozen=True)
class Cause:
    """Property that several of the most harmful rows of a query have.

    Attributes:
        name: Property, such as `label neg`; `(near-duplicates)` for rows with nearly equal texts.
        count: Number of the most harmful rows with this property.
        rows: Number of the most harmful rows.
        base: Share of all training rows with the property; None for near-duplicates.
    """

    name: str
    count: int
    rows: int
    base: float | None

    def __str__(self) -> str:
        """The cause as a sentence without its full stop.

        Examples:
            >>> print(Cause("label neg", 9, 10, 0.5))
            9 of the 10 most harmful rows have label neg (50% of all rows do)
        """
        if self.base is None:
            return f"{self.count} of the {self.rows} most harmful rows are near-duplicates"
        have = f"{self.count} of the {self.rows} most harmful rows have"
        return f"{have} {self.name} ({self.base:.0%} of all rows do)"


@dataclass(frozen=True)
class CauseCount:
    """Number of queries with one cause.

    Attributes:
        name: Name of the cause.
        queries: Number of queries that have it.
        base: Share of all training rows with the property; None for near-duplicates.
    """

    name: str
    queries: int
    base: float | None


def find_causes(data: RunData, duplicates: Duplicates, rows: Sequence[Row]) -> Iterator[Cause]:
    """Find what significantly many of the most harmful rows of a query have in common.

    Label and source are tested against their shares of all training rows by a one-sided binomial
    test.

    Args:
        data: Data of the run.
        duplicates: Groups of near-duplicates.
        rows: Harmful rows of the query, the most harmful first.

    Yields:
        Causes; none for fewer than ten harmful rows.
    """
    rows = rows[:COMMON]
    if len(rows) < COMMON:
        return
    for column in dict.fromkeys((data.label_column, data.source_column)):
        value, count = Counter(row[column] for row in rows).most_common(1)[0]
        base = float((data.train[column] == value).mean() or 0.0) if value is not None else 1.0
        if (
            base < 1
            and binomtest(count, len(rows), base, alternative="greater").pvalue < MAX_P_VALUE
        ):
            name = f"{column.removeprefix('group_')} {format_group_value(value)}"
            yield Cause(name, count, len(rows), base)
    clusters = Counter(duplicates.cluster[int(str(row["train"]))] for row in rows)
    clusters.pop(-1, None)
    count = max(clusters.values(), default=0)
    if count > 1:
        yield Cause(NEAR_DUPLICATES, count, len(rows), None)


def count_causes(causes: Sequence[Sequence[Cause]]) -> list[CauseCount]:
    """Count the queries of each cause, the most frequent cause first.

    Args:
        causes: Causes of each query.

    Examples:
        >>> a, b = Cause("label a", 9, 10, 0.5), Cause("label a", 10, 10, 0.5)
        >>> count_causes([[a], [b], []])
        [CauseCount(name='label a', queries=2, base=0.5)]
    """
    counts = Counter(cause.name for query_causes in causes for cause in query_causes)
    bases = {cause.name: cause.base for query_causes in causes for cause in query_causes}
    return [CauseCount(name, count, bases[name]) for name, count in counts.most_common()]
