"""The night in three sentences, made from figures."""

from collections.abc import Sequence

from tasks.label_count import label_count
from tasks.report.assurance import Assurance
from tasks.report.night import Night
from tasks.report.rows import listed
from tasks.report.slices import Slices
from tasks.report.suspects import Suspects

FIRST = 50
"""Suspects of which the new ones are counted."""


def headline(
    night: Night, slices: Slices, suspects: Suspects | None, told: Sequence[Assurance]
) -> list[str]:
    """Accuracy, what is suspicious or became harmful, and whether the night can be trusted."""
    return [_accuracy(night, slices), _data(night, suspects), _trust(told)]


def _accuracy(night: Night, slices: Slices) -> str:
    share = float(night.queries["correct"].mean() or 0.0)  # type: ignore[arg-type]
    text = f"{share:.1%} of {len(night.queries):,} queries are predicted correctly"
    both = night.difference.overall if night.difference else None
    if both:
        moved = 100 * (both.after - both.before)
        text += f" ({moved:+.1f} points on the {both.queries:,} asked in both runs)"
    if len(slices.accuracy) > 1:
        least = slices.accuracy[0]
        text += f"; lowest is {slices.slice} {least['slice']} with {least['accuracy']:.1%}"
    return f"{text}."


def _data(night: Night, suspects: Suspects | None) -> str:
    parts = []
    if suspects:
        count = label_count(suspects.facts)
        if count is None:
            parts.append("How many labels are wrong is not known, for want of a random sample")
        else:
            parts.append(
                f"About {count.expected:,.0f} of {count.rows:,} labels are probably wrong (90 % "
                f"interval {count.low:,.0f} to {count.high:,.0f})"
            )
        if suspects.compared:
            new = sum(bool(row["new"]) for row in suspects.rows[:FIRST])
            parts[-1] += f", {new} of the first {min(FIRST, len(suspects.rows))} are new"
    else:
        parts.append("Labels were not searched")
    if night.difference:
        became = int((night.difference.rows["change"] == "became harmful").sum())
        stopped = len(night.difference.rows) - became
        parts.append(f"{became} training rows became harmful and {stopped} stopped being so")
    else:
        rows = night.harm.filter(night.harm["harm"] < 0)
        parts.append(f"{len(rows):,} of {len(night.train):,} training rows harm some query")
    return f"{'; '.join(parts)}."


def _trust(told: Sequence[Assurance]) -> str:
    wrong = [one.name for one in told if one.fine is False]
    checked = [one.name for one in told if one.fine is not None]
    if wrong:
        return f"Read with care: {listed(wrong, 4)} not in order."
    return f"Measured and in order: {listed(checked, 6)}."
