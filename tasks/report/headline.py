"""Summary sentences of a run: accuracy, data and reliability."""

from collections.abc import Sequence

from storage.run_comparison import BECAME_HARMFUL, STOPPED_HARMING
from tasks.mislabels.label_count import read_label_count
from tasks.report.formatting import join_first
from tasks.report.mislabels import FlaggedLabels
from tasks.report.reliability import ReliabilityCheck
from tasks.report.run_data import RunData
from tasks.report.slices import SourceSliceEffects
from tasks.results.group_names import format_group_value
from tasks.results.slice_accuracy import MIN_SLICE_SIZE
from tasks.results.suspicious_groups import describe_excesses

FIRST_FLAGGED = 50
"""Number of flagged labels among which the new ones are counted."""


def make_headline(
    data: RunData,
    slices: SourceSliceEffects,
    flagged: FlaggedLabels | None,
    checks: Sequence[ReliabilityCheck],
) -> list[str]:
    """Summarize accuracy, flagged labels and harmful rows, and the checks of reliability.

    Returns:
        Three sentences.
    """
    return [
        _describe_accuracy(data, slices),
        _describe_data(data, flagged),
        _describe_reliability(checks),
    ]


def _describe_accuracy(data: RunData, slices: SourceSliceEffects) -> str:
    share = float(data.queries["correct"].mean() or 0.0)  # type: ignore[arg-type]
    text = f"{share:.1%} of {len(data.queries):,} queries are predicted correctly"
    overall = data.difference.overall if data.difference else None
    if overall:
        change = 100 * (overall.after - overall.before)
        text += f" ({change:+.1f} points on the {overall.queries:,} queries of both runs)"
    if len(slices.accuracy) > 1:
        text += f"; {_describe_lowest_slice(slices, share)}"
    return f"{text}."


def _describe_lowest_slice(slices: SourceSliceEffects, share: float) -> str:
    """Name the slice with significantly lower accuracy than all queries, if there is one."""
    large = [row for row in slices.accuracy if row["queries"] >= MIN_SLICE_SIZE]
    significant = [row for row in large if row["high"] < share]
    if not significant:
        return f"no {slices.slice_name} is significantly lower"
    lowest = min(significant, key=lambda row: row["accuracy"])
    bounds = f"95 % interval {lowest['low']:.0%} to {lowest['high']:.0%}"
    name, count = format_group_value(lowest["slice"]), f"{lowest['queries']:,} queries"
    return (
        f"lowest is {slices.slice_name} {name} with {lowest['accuracy']:.1%} of {count} ({bounds})"
    )


def make_label_headline(flagged: FlaggedLabels, checks: Sequence[ReliabilityCheck]) -> list[str]:
    """Summarize flagged labels and the checks of reliability, without an audit.

    Returns:
        Two sentences.
    """
    return [f"{'; '.join(_describe_labels(flagged))}.", _describe_reliability(checks)]


def _describe_labels(flagged: FlaggedLabels | None) -> list[str]:
    clauses = []
    if flagged:
        count = read_label_count(flagged.facts)
        if count is None:
            clauses.append(
                "The number of wrong labels is unknown, since no random sample was annotated"
            )
        else:
            number = (
                "An unknown number" if count.expected is None else f"About {count.expected:,.0f}"
            )
            clauses.append(
                f"{number} of {count.rows:,} labels are wrong (90 % interval {count.low:,.0f} to "
                f"{count.high:,.0f}, by a random sample)"
            )
        if flagged.has_previous and flagged.rows:
            new = sum(bool(row["new"]) for row in flagged.rows[:FIRST_FLAGGED])
            clauses[-1] += f", {new} of the first {min(FIRST_FLAGGED, len(flagged.rows))} are new"
        excesses = (line for counts in flagged.groups for line in describe_excesses(counts))
        clauses += [line.removesuffix(".") for line in excesses][:1]
    else:
        clauses.append("Labels were not checked")
    return clauses


def _describe_data(data: RunData, flagged: FlaggedLabels | None) -> str:
    clauses = _describe_labels(flagged)
    if data.difference and data.difference.rows is None:
        clauses.append(f"effects cannot be compared with those of {data.against}")
    elif data.difference:
        became, stopped = (
            data.difference.count(change) for change in (BECAME_HARMFUL, STOPPED_HARMING)
        )
        clauses.append(f"training rows newly harmful: {became}, no longer harmful: {stopped}")
    else:
        rows = data.harm.filter(data.harm["harm"] > 0)
        clauses.append(
            f"{len(rows):,} of {len(data.train):,} training rows harm at least one query"
        )
    return f"{'; '.join(clauses)}."


def _describe_reliability(checks: Sequence[ReliabilityCheck]) -> str:
    failed = [check.name for check in checks if check.passed is False]
    measured = [check.name for check in checks if check.passed is not None]
    if failed:
        return f"Read with care, checks failed: {join_first(failed, 4)}."
    if not measured:
        return "No check of reliability was measured."
    return f"Checks passed: {join_first(measured, 6)}."
