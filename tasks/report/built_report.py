"""Facts of a built report: what every format and the terminal show, without example texts."""

from dataclasses import dataclass

from tasks.mislabels.label_statement import LabelStatement
from tasks.mislabels.reachable_recall import ReachableRecall, read_reachable_recall
from tasks.report.actions import Action
from tasks.report.labels_page import LabelsPage
from tasks.report.page import Page
from tasks.results.compare_runs import RunDifference
from tasks.results.limits import LimitTest
from tasks.results.slice_accuracy import SliceInterval, bound_slices, find_group_column


@dataclass(frozen=True)
class BuiltReport:
    """Facts of a report that was built; groups are named, and no text of an example is in it.

    Attributes:
        path: Path of the written file.
        run: Name of its run, or of the detection of labels alone.
        has_audit: Whether it is about a run.
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
    has_audit: bool
    actions: list[Action]
    tests: list[LimitTest]
    headline: list[str]
    reliability: list[dict[str, str]]
    against: str | None
    counts: dict[str, int | None]
    worst_slice: SliceInterval | None
    labels: LabelStatement
    flip_recall: ReachableRecall | None
    difference: RunDifference | None


def make_built_report(page: Page | LabelsPage, path: str) -> BuiltReport:
    """Collect the facts of a page.

    Args:
        page: Contents of the report.
        path: Path of the written file.
    """
    search = page.data.mislabels
    reliability = [
        {"check": check.name, "measured": check.measured, "result": check.verdict}
        for check in page.reliability_checks
    ]
    return BuiltReport(
        path,
        page.data.run,
        page.data.has_audit,
        page.actions,
        page.tests,
        page.headline,
        reliability,
        page.data.against if isinstance(page, Page) else None,
        _count_findings(page),
        _find_worst_slice(page) if isinstance(page, Page) else None,
        page.data.labels,
        read_reachable_recall(search.facts) if search else None,
        page.data.difference if isinstance(page, Page) else None,
    )


def _count_findings(page: Page | LabelsPage) -> dict[str, int | None]:
    data = page.data
    has_leaks = data.has_audit or (len(data.queries))
    return {
        "queries": len(data.queries),
        "training_rows": len(data.train),
        "leaked_queries": page.duplicates.leaked if has_leaks else None,
        "contradictions": page.duplicates.conflicting if data.determines_class else None,
    }


def _find_worst_slice(page: Page) -> SliceInterval | None:
    queries = page.data.queries
    group = find_group_column(queries.columns)
    slices = bound_slices(queries, group) if group else []
    return slices[0] if slices else None
