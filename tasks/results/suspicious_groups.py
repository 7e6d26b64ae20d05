"""Sentences on groups of training rows with more suspicious labels than their share."""

from collections.abc import Iterator

from tasks.mislabels.group_counts import GroupCounts
from tasks.results.group_names import format_group_value


def describe_excesses(counts: GroupCounts) -> Iterator[str]:
    """Yield a sentence for each group with significantly more suspicious labels than its share."""
    total = sum(count.rows for count in counts.values)
    for count in counts.excesses:
        share = "less than 1%" if count.rows < total / 100 else f"{count.rows / total:.0%}"
        yield (
            f"{counts.name} {format_group_value(count.value)} has {count.suspicious:,} of the "
            f"{counts.window:,} most suspicious labels, with {share} of the rows."
        )
