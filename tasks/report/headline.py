"""Summary sentences of a run: accuracy, data and reliability."""

from collections.abc import Sequence

from tasks.report.formatting import join_first
from tasks.report.mislabels import FlaggedLabels
from tasks.report.reliability import ReliabilityCheck
from tasks.report.run_data import RunData
from tasks.report.slices import SourceSliceEffects
from tasks.results.compare_runs import describe_entered
from tasks.results.group_names import format_group_value
from tasks.results.query_measure import describe_errors
from tasks.results.slice_accuracy import MIN_SLICE_SIZE
from tasks.results.suspicious_groups import describe_excesses
from tasks.study.target_kind import ONE_CLASS

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
    labelled, total = int(data.queries["correct"].count()), len(data.queries)
    if not labelled and data.queries["label"].count():
        return describe_errors(data.queries)
    if not labelled:
        return f"None of {total:,} queries has a label: their predicted labels are explained."
    share = float(data.queries["correct"].mean() or 0.0)  # type: ignore[arg-type]
    text = f"{share:.1%} of {labelled:,} queries are predicted correctly"
    if labelled < total:
        text += f", {total - labelled:,} more have no label"
    overall = data.difference.overall if data.difference else None
    if overall:
        change = 100 * (overall.after - overall.before)
        text += (
            f" ({change:+.1f} points on the {overall.queries:,} queries of both runs: "
            f"{overall.broken:,} broken, {overall.repaired:,} repaired)"
        )
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
        Sentences on labels, and on reliability.
    """
    clauses = [*_describe_labels(flagged), *_describe_excess(flagged)]
    more = [f"{'; '.join(clauses)}."] if clauses else []
    return [" ".join([flagged.statement.sentence, *more]), _describe_reliability(checks)]


def _describe_labels(flagged: FlaggedLabels | None) -> list[str]:
    clauses = []
    if flagged and flagged.has_previous and flagged.rows:
        new = sum(bool(row["new"]) for row in flagged.rows[:FIRST_FLAGGED])
        first = min(FIRST_FLAGGED, len(flagged.rows))
        clauses.append(f"{new} of the first {first} suspicious labels are new")
    return clauses


def _describe_excess(flagged: FlaggedLabels | None) -> list[str]:
    """Clause on a group with more than its share, for the end: it begins with a name."""
    excesses = (
        line for counts in (flagged.groups if flagged else ()) for line in describe_excesses(counts)
    )
    return [line.removesuffix(".") for line in excesses][:1]


def _describe_data(data: RunData, flagged: FlaggedLabels | None) -> str:
    clauses = _describe_labels(flagged)
    if data.difference and data.difference.rows is None:
        clauses.append(f"effects cannot be compared with those of {data.against}")
    elif data.difference and data.difference.overall:
        clauses.append(describe_entered(data.difference.overall, data.difference.k))
    else:
        rows = data.harm.filter(data.harm["harm"] > 0)
        clauses.append(
            f"{len(rows):,} of {len(data.train):,} training rows harm at least one query"
        )
    sentence = "; ".join([*clauses, *_describe_excess(flagged)])
    checked = [data.labels.sentence] if data.target in ONE_CLASS else []
    return " ".join([*checked, f"{sentence[0].upper()}{sentence[1:]}."])


def _describe_reliability(checks: Sequence[ReliabilityCheck]) -> str:
    failed = [check.name for check in checks if check.passed is False]
    measured = [check.name for check in checks if check.passed is not None]
    if failed:
        return f"Read with care, checks failed: {join_first(failed, 4)}."
    if not measured:
        return "No check of reliability was measured."
    return f"Checks passed: {join_first(measured, 6)}."
