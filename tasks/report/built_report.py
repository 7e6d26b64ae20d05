"""Facts of a built report: what every format and the terminal show, without example texts."""

from dataclasses import dataclass

from tasks.mislabels.label_statement import LabelStatement
from tasks.mislabels.reachable_recall import ReachableRecall, read_reachable_recall
from tasks.report.actions import Action
from tasks.report.page import Page
from tasks.results.compare_runs import RunDifference
from tasks.results.limits import LimitTest
from tasks.results.slice_accuracy import SliceInterval, bound_slices, find_group_column


@dataclass(frozen=True)
class BuiltReport:
    """Facts of a report that was built; groups are named, and no text of an example is in it.

    Attributes:
        path: Path of the written file.
        run: Name of its run.
        actions: Recommended actions, certain findings first.
        tests: Tests of the run against the limits of the study.
        headline: Summary sentences.
        reliability: Table of checks with their results.
        against: Name of the run that is compared; None without one.
        counts: Numbers of queries, training rows, leaks and contradictions.
        worst_slice: Slice with the lowest upper confidence bound; None without one.
        labels: Statement on the number of wrong labels.
        flip_recall: Recall of injected label flips; None if it was not measured.
        difference: Comparison with the earlier run; None without one.
    """

    path: str
    run: str
    actions: list[Action]
    tests: list[LimitTest]
    headline: list[str]
    reliability: list[dict[str, str]]
    against: str | None
    counts: dict[str, int]
    worst_slice: SliceInterval | None
    labels: LabelStatement
    flip_recall: ReachableRecall | None
    difference: RunDifference | None


def make_built_report(page: Page, path: str) -> BuiltReport:
    """Collect the facts of a page.

    Args:
        page: Contents of the report.
        path: Path of the written file.
    """
    data, group = page.data, find_group_column(page.data.queries.columns)
    slices = bound_slices(data.queries, group) if group else []
    search = data.mislabels
    counts = {
        "queries": len(data.queries),
        "training_rows": len(data.train),
        "leaked_queries": page.duplicates.leaked,
        "contradictions": page.duplicates.conflicting,
    }
    reliability = [
        {"check": check.name, "measured": check.measured, "result": check.verdict}
        for check in page.reliability_checks
    ]
    return BuiltReport(
        path,
        data.run,
        page.actions,
        page.tests,
        page.headline,
        reliability,
        data.against,
        counts,
        slices[0] if slices else None,
        data.labels,
        read_reachable_recall(search.facts) if search else None,
        data.difference,
    )
