"""Tests of labels alone against the limits in section `[report]` of their study."""

from tasks.mislabels.label_statement import LabelStatement
from tasks.results.limits import LimitTest, Status, check_leaks, check_wrong_labels
from tasks.study.report_section import ReportLimits

AUDITED = {
    "accuracy_below": ("accuracy", "an audit"),
    "accuracy_drop_above": ("change of accuracy", "an audit"),
    "slice_below": ("worst slice", "an audit"),
    "recall_below": ("recall of candidates", "an audit"),
    "residual_above": ("largest residual", "an audit"),
}
"""Numbers that labels alone do not give, by their keys: name, and what it takes to measure them."""


def check_label_limits(
    limits: ReportLimits, labels: LabelStatement, leaks: int | None, queries: int
) -> list[LimitTest]:
    """Test labels alone; a limit on a number that takes an audit is a warning: not measured.

    Args:
        limits: Section `[report]`.
        labels: Statement on the number of wrong labels.
        leaks: Number of queries that are training rows; None if rows cannot be compared.
        queries: Number of queries.
    """
    tests = [check_wrong_labels(limits.wrong_labels_above, labels)]
    unmeasured = {"leaks_above": ("leaks", "queries that can be compared")} | AUDITED
    if queries and leaks is not None:
        tests.append(check_leaks(limits.leaks_above, leaks, queries))
        del unmeasured["leaks_above"]
    for key, (name, lacks) in unmeasured.items():
        if (limit := getattr(limits, key)) is not None:
            measured = f"not measured: it takes {lacks}"
            tests.append(LimitTest(key, name, measured, Status.WARN, limit, None))
    return tests
