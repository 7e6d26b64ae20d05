"""Tests of a run against the limits in section `[report]` of its study."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from storage import Store
from tasks.mislabels.label_statement import LabelStatement
from tasks.mislabels.stored_detections import StoredDetections
from tasks.results.candidate_recall import find_lowest_recall, is_full_scan, select_overall
from tasks.results.comparability import find_comparable_run
from tasks.results.compare_runs import RunDifference, diff_runs
from tasks.results.group_names import format_group_value
from tasks.results.paired_accuracy import compare_paired_accuracy
from tasks.results.slice_accuracy import (
    MIN_SLICE_SIZE,
    bound_slices,
    find_group_column,
    wilson_interval,
)
from tasks.results.summary import Summary, read_summary
from tasks.results.tree_evidence import read_tree_evidence
from tasks.study.report_section import ReportLimits
from tasks.study.study import Study


class Status(StrEnum):
    """Result of a test; by a confidence interval that contains the limit it is a warning."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    OPEN = "not tested"


UNSEARCHED = LabelStatement(False, None, 0, False, ())
"""Statement on labels without a detection."""
SEVERITY = (Status.OPEN, Status.PASS, Status.WARN, Status.FAIL)
"""Results, the worst last."""


@dataclass(frozen=True)
class LimitTest:
    """Test of a measured number against a limit.

    Attributes:
        key: Key under `[report]`, such as `accuracy_below`.
        name: Name of the measured number.
        measured: Measured number with its interval, in words.
        status: Result of the test.
        limit: Limit set in the study; None without one.
        value: Measured number; None if it was not measured.
        remedy: Command or setting that would measure it; empty where it was measured.
    """

    key: str
    name: str
    measured: str
    status: Status
    limit: float | None
    value: float | None
    remedy: str = ""

    @property
    def bound(self) -> str:
        """Limit in words; empty without one.

        Examples:
            >>> LimitTest("leaks_above", "leaks", "3", Status.FAIL, 0, 3).bound
            'at most 0'
        """
        if self.limit is None:
            return ""
        is_share = self.key.startswith(("accuracy", "slice", "wrong_labels"))
        number = f"{100 * self.limit:g} %" if is_share else f"{self.limit:g}"
        return f"{'at least' if self.key.endswith('_below') else 'at most'} {number}"


def check_limits(
    limits: ReportLimits,
    summary: Summary,
    queries: pl.DataFrame,
    difference: RunDifference | None = None,
    labels: LabelStatement | None = None,
) -> list[LimitTest]:
    """Test a run against the limits of its study; numbers without a limit are listed too.

    Args:
        limits: Section `[report]`.
        summary: Summary of the run.
        queries: Table of its queries.
        difference: Comparison with an earlier run; None without one.
        labels: Statement on the number of wrong labels; None without a detection.

    Returns:
        One test for each key of the section, in its order.
    """
    return [
        _check_accuracy(limits.accuracy_below, queries),
        _check_drop(limits.accuracy_drop_above, difference),
        _check_slices(limits.slice_below, queries),
        check_wrong_labels(limits.wrong_labels_above, labels or UNSEARCHED),
        check_leaks(limits.leaks_above, summary.leaked_queries, len(queries)),
        _check_recall(limits.recall_below, summary),
        _check_residual(limits.residual_above, summary),
    ]


def find_worst_status(tests: Iterable[LimitTest]) -> Status:
    """Return the worst result of some tests.

    Examples:
        >>> find_worst_status([LimitTest("leaks_above", "leaks", "0", Status.PASS, 0, 0)])
        <Status.PASS: 'pass'>
    """
    return max((test.status for test in tests), key=SEVERITY.index, default=Status.OPEN)


def _decide(limit: float | None, low: float, high: float, *, is_least: bool) -> Status:
    """Compare an interval with a limit that is the least or the largest permitted number."""
    if limit is None:
        return Status.OPEN
    if is_least:
        low, high, limit = -high, -low, -limit
    return Status.PASS if high <= limit else Status.FAIL if low > limit else Status.WARN


def _decide_unmeasured(limit: float | None) -> Status:
    return Status.OPEN if limit is None else Status.WARN


def _check_accuracy(limit: float | None, queries: pl.DataFrame) -> LimitTest:
    """Test the accuracy on the queries with labels; without any it is not measured."""
    key, name, total = "accuracy_below", "accuracy", len(queries)
    right, count = int(queries["correct"].sum()), int(queries["correct"].count())
    if not count:
        has_labels = bool(queries["label"].count()) if "label" in queries.columns else False
        measured = f"none of {total:,} queries has a label"
        measured = "not defined for numbers" if has_labels else measured
        return LimitTest(key, name, measured, _decide_unmeasured(limit), limit, None)
    low, high = wilson_interval(right, count)
    labelled = "" if count == total else f" with labels, {total:,} in all"
    measured = f"{right / count:.1%} ({low:.1%} - {high:.1%}) of {count:,} queries{labelled}"
    status = _decide(limit, low, high, is_least=True)
    return LimitTest(key, name, measured, status, limit, right / count)


def _check_drop(limit: float | None, difference: RunDifference | None) -> LimitTest:
    """Test the fall of the accuracy; nothing is tested on a first night."""
    key, name = "accuracy_drop_above", "change of accuracy"
    overall = difference.overall if difference else None
    if overall is None:
        return LimitTest(key, name, "no earlier run to compare with", Status.OPEN, limit, None)
    low, high, p = compare_paired_accuracy(overall)
    fall = overall.before - overall.after
    measured = (
        f"{-100 * fall:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}) on {overall.queries:,} "
        f"queries of both runs: {overall.broken:,} broken, {overall.repaired:,} repaired "
        f"(McNemar's p = {p:.2g})"
    )
    status = _decide(limit, -high, -low, is_least=False)
    return LimitTest(key, name, measured, status, limit, fall)


def _check_slices(limit: float | None, queries: pl.DataFrame) -> LimitTest:
    """Test the slice with the lowest upper bound, by intervals that hold for all at once."""
    key, name = "slice_below", "worst slice"
    column = find_group_column(queries.columns)
    if column is None:
        return LimitTest(key, name, "queries without groups", Status.OPEN, limit, None)
    slices = bound_slices(queries, column)
    if not slices:
        measured = f"no slice of {MIN_SLICE_SIZE} queries or more"
        return LimitTest(key, name, measured, Status.OPEN, limit, None)
    worst = slices[0]
    statuses = [_decide(limit, part.low, part.high, is_least=True) for part in slices]
    measured = (
        f"{format_group_value(worst.value)}: {worst.accuracy:.1%} ({worst.low:.1%} - "
        f"{worst.high:.1%}) of {worst.queries:,} queries, the lowest of {len(slices):,} slices"
    )
    status = max(statuses, key=SEVERITY.index)
    return LimitTest(key, name, measured, status, limit, worst.accuracy)


def check_wrong_labels(limit: float | None, labels: LabelStatement) -> LimitTest:
    """Test the share of wrong labels, by an annotated random sample."""
    key, name, count = "wrong_labels_above", "wrong labels", labels.count
    if count is None:
        status = _decide_unmeasured(limit)
        return LimitTest(key, name, labels.share, status, limit, None, labels.command)
    rows = max(1, count.rows)
    status = _decide(limit, count.low / rows, count.high / rows, is_least=False)
    return LimitTest(key, name, labels.share, status, limit, count.share)


def check_leaks(limit: float | None, leaks: int, queries: int) -> LimitTest:
    """Test the number of queries that are training rows."""
    measured = f"{leaks:,} of {queries:,} queries are training rows"
    status = _decide(limit, leaks, leaks, is_least=False)
    return LimitTest("leaks_above", "leaks", measured, status, limit, leaks)


def _check_recall(limit: float | None, summary: Summary) -> LimitTest:
    key, name = "recall_below", "recall of candidates"
    lowest = find_lowest_recall(summary.recall)
    if lowest is None:
        return _check_unmeasured_recall(limit, summary)
    share, low, high = (float(str(lowest[part])) for part in ("share", "low", "high"))
    measured = f"{share:.2f} ({low:.2f} - {high:.2f}) of the top {lowest['at']}, by " + (
        f"{lowest['queries']} queries"
    )
    statuses = [
        _decide(limit, float(str(entry["low"])), float(str(entry["high"])), is_least=True)
        for entry in select_overall(summary.recall)
    ]
    return LimitTest(key, name, measured, max(statuses, key=SEVERITY.index), limit, share)


def _check_unmeasured_recall(limit: float | None, summary: Summary) -> LimitTest:
    key, name = "recall_below", "recall of candidates"
    if is_full_scan(summary.facts):
        status = Status.OPEN if limit is None else Status.PASS
        return LimitTest(key, name, "every training row was scored", status, limit, 1.0)
    remedy = "[candidates] check = 80"
    return LimitTest(key, name, "not measured", _decide_unmeasured(limit), limit, None, remedy)


def _check_residual(limit: float | None, summary: Summary) -> LimitTest:
    key, name = "residual_above", "largest residual"
    residual = summary.diagnostics.get("worst_residual")
    if read_tree_evidence(summary.facts) is not None:
        status = Status.OPEN if limit is None else Status.PASS
        return LimitTest(key, name, "no linear system is solved", status, limit, None)
    if residual is None:
        return LimitTest(key, name, "not measured", _decide_unmeasured(limit), limit, None)
    number = float(str(residual))
    status = _decide(limit, number, number, is_least=False)
    return LimitTest(key, name, f"{number:.2g}", status, limit, number)


def read_limit_tests(store: Store, run: str, study: Study) -> list[LimitTest]:
    """Test a finished run of a store; the earlier run is the newest comparable one.

    Raises:
        StoreError: There is no such run, or a file of it is damaged.
    """
    earlier = find_comparable_run(store, run)
    record = store.read_record(run)
    labels = StoredDetections.open(store).state(run, record.train_rows, record.parts)
    return check_limits(
        study.report,
        read_summary(store, run, study.path),
        store.scan("queries", run).collect(),
        diff_runs(store, earlier, run) if earlier else None,
        labels,
    )
