"""The night in three sentences, made from figures."""

from collections.abc import Sequence

from storage.run_comparison import BECAME, STOPPED
from tasks.mislabels.label_count import label_count
from tasks.report.formatting import listed
from tasks.report.mislabels import Suspects
from tasks.report.reliability import Assurance
from tasks.report.run_data import Night
from tasks.report.slices import Slices
from tasks.results.group_names import name_of

FIRST = 50
"""Suspects of which the new ones are counted."""

LEAST = 10
"""Queries of a slice that is called the lowest."""


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
        text += f"; {_lowest(slices, share)}"
    return f"{text}."


def _lowest(slices: Slices, share: float) -> str:
    """The slice that is lower than all queries together, if one surely is."""
    large = [row for row in slices.accuracy if row["queries"] >= LEAST]
    sure = [row for row in large if row["high"] < share]
    if not sure:
        return f"no {slices.slice} is clearly lower"
    least = min(sure, key=lambda row: row["accuracy"])
    bounds = f"95 % interval {least['low']:.0%} to {least['high']:.0%}"
    name, count = name_of(least["slice"]), f"{least['queries']:,} queries"
    return f"lowest is {slices.slice} {name} with {least['accuracy']:.1%} of {count} ({bounds})"


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
    if night.difference and night.difference.rows is None:
        parts.append(f"effects cannot be compared with those of {night.against}")
    elif night.difference:
        became, stopped = (night.difference.count(change) for change in (BECAME, STOPPED))
        parts.append(f"{became} training rows became harmful and {stopped} stopped being so")
    else:
        rows = night.harm.filter(night.harm["harm"] < 0)
        parts.append(f"{len(rows):,} of {len(night.train):,} training rows harm some query")
    return f"{'; '.join(parts)}."


def _trust(told: Sequence[Assurance]) -> str:
    wrong = [one.name for one in told if one.fine is False]
    checked = [one.name for one in told if one.fine is not None]
    unsure = [one.name for one in told if one.unsure]
    rest = f" Too little was measured of {listed(unsure, 4)}." if unsure else ""
    if wrong:
        return f"Read with care: {listed(wrong, 4)} not in order.{rest}"
    if not checked:
        return f"Nothing was measured by which this night could be trusted.{rest}"
    return f"Measured and in order: {listed(checked, 6)}.{rest}"
