"""Sentences on a search for wrong targets: its scores, what was not searched, and counts."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from tasks.study.errors import format_value as quote
from tasks.study.errors import join_some
from tasks.study.target_kind import MULTI_LABEL
from tasks.wrong_targets.stored_searches import TargetSearch

LEAST_SCORE = 0.01
"""Least score of a target that is listed, or exported without a budget."""
SCORE_NOTE = (
    "The score is the posterior of an error in a mixture; no probability: noise with heavy tails "
    "looks like errors. The strength is the residual in conditional standard deviations."
)
UNKNOWN_COUNT = (
    "How many targets are wrong is unknown: `fastif review export --random 100` and the import of "
    "its annotations count them."
)
IS_DOUBTFUL = pl.col("reviewed").is_null() & pl.col("informed") & (pl.col("score") >= LEAST_SCORE)
"""Whether a target of a search is listed."""


def describe_search(search: TargetSearch) -> Iterator[str]:
    """Yield sentences on a search: counts, labels that were not searched, and chance."""
    facts = search.facts
    reviewed = search.table["reviewed"].is_not_null().sum()
    if facts["target"] != MULTI_LABEL:
        yield SCORE_NOTE
    else:
        yield (
            "The probability is of the label; that in the column row, of one wrong label or more "
            "in the row."
        )
    if reviewed:
        yield f"Reviewed targets: {reviewed:,}; they are evidence, and are not listed again."
    for name, (has, lacks) in facts.get("rare", {}).items():
        yield (
            f"Not searched: {quote(name)}, with {has} distinct rows that have it and {lacks} that "
            "have not; 5 of each are needed."
        )
    if facts["uninformed"]:
        names = join_some(map(quote, facts["uninformed"]), 20)
        yield f"Not listed, since the features predict them no better than chance: {names}."
    yield from describe_counts(facts)


def describe_counts(facts: dict[str, Any]) -> Iterator[str]:
    """Yield the estimated number of wrong targets, of all and by label."""
    counts = facts["counts"]
    if counts is None:
        yield UNKNOWN_COUNT
        return
    for name, count in sorted(counts.items(), key=lambda item: item[0] != ""):
        about = "" if count["expected"] is None else f"about {count['expected']:,.0f}, "
        where = f" of {quote(name)}" if name else ""
        yield (
            f"Wrong targets{where}: {about}{count['low']:,.0f} to {count['high']:,.0f} with "
            f"90 % confidence, from {count['verdicts']} random verdicts."
        )
