"""Changes of the table since its random audit sample, and sampled rows without annotation."""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.mislabels.label_count import read_label_count


def describe_sample_changes(facts: Mapping[str, Any]) -> Iterator[str]:
    """Describe what a count of wrong labels does not cover, and what widens its intervals.

    Args:
        facts: Summary of a detection; nothing is yielded without a random audit sample.
    """
    audit = facts.get("drawn")
    if audit is None:
        return
    is_counted = read_label_count(facts) is not None
    if is_counted and audit["later"]:
        yield (
            f"{audit['later']:,} rows were added after sampling and are not in the estimate; their "
            "probabilities assume that they are like the others. Sample again (fastif review "
            "export --random 100 --out random.csv)"
        )
    if is_counted and audit["gone"]:
        yield (
            f"{audit['gone']:,} of the {audit['population']:,} rows at the time of sampling were "
            "removed or changed: the estimate is for the others"
        )
    if audit["skipped"]:
        then = "the intervals count" if is_counted else "an interval would count"
        yield (
            f"{audit['skipped']:,} sampled rows have no agreed annotation: {then} them both as "
            "right and as wrong. Annotate them for narrower intervals"
        )
