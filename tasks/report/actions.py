"""Recommended actions of a report, certain findings first."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tasks.report.data_quality import DataQuality
from tasks.report.duplicates import Duplicates
from tasks.report.formatting import join_first
from tasks.report.mislabels import FlaggedLabels
from tasks.report.reliability import ReliabilityCheck
from tasks.report.run_data import RunData
from tasks.results.compare_runs import RunDifference, SliceDifference
from tasks.results.group_names import format_group_value
from tasks.results.paired_accuracy import compare_paired_accuracy
from tasks.results.slice_accuracy import MIN_SLICE_SIZE
from tasks.study.command_lines import format_command
from tasks.study.target_kind import NUMBER, ONE_CLASS
from tasks.wrong_targets.cells import WRONG_TARGET_KINDS

MAX_ACTIONS = 5
FIRST_ROWS = 25
"""Number of rows of the first look at suspicious labels."""
LOOK_SECONDS = 24
"""Seconds of a look at one row."""
MAX_P_VALUE = 0.05


@dataclass(frozen=True)
class Action:
    """Recommended action.

    Attributes:
        what: Finding with its number; no example text.
        why: Consequence for the reader.
        anchor: Section of the page with the evidence.
        command: Command or setting that does it; empty where there is none.
    """

    what: str
    why: str
    anchor: str
    command: str = ""

    def __str__(self) -> str:
        """The action on one line.

        Examples:
            >>> print(Action("3 queries are training rows", "accuracy is too high", "quality"))
            3 queries are training rows: accuracy is too high.
        """
        return f"{self.what}: {self.why}." + (f" {self.command}" if self.command else "")


OF_DATA = ("query leakage", "queries without scores")
"""Checks of reliability whose findings are actions by themselves."""


def list_actions(
    data: RunData,
    duplicates: Duplicates,
    quality: DataQuality,
    flagged: FlaggedLabels | None,
    checks: Sequence[ReliabilityCheck],
) -> list[Action]:
    """List at most five actions: certain findings, labels, slices that fell, unreliable results.

    Args:
        data: Data of the run.
        duplicates: Duplicates and leaks.
        quality: Empty rows.
        flagged: Flagged labels; None if no search was run.
        checks: Checks of reliability.
    """

    def command(*words: str) -> str:
        return format_command(*words, study=data.summary.study.name)

    actions = [
        *_list_leaks(duplicates, command),
        *(_list_contradictions(duplicates, command) if data.determines_class else ()),
        *_list_empty_rows(quality),
        *_list_quarantined(data),
        *(_list_labels(flagged, command) if data.target in ONE_CLASS else ()),
        *(_list_targets(data, command) if data.target in WRONG_TARGET_KINDS else ()),
        *_list_fallen_slices(data.difference),
        *_list_doubts(checks),
    ]
    return actions[:MAX_ACTIONS]


def list_label_actions(
    study: str,
    duplicates: Duplicates,
    quality: DataQuality,
    flagged: FlaggedLabels,
    determines_class: bool,
) -> list[Action]:
    """List at most five actions of a study without an audit.

    Args:
        study: Name of the study file, for the commands.
        duplicates: Duplicates and leaks.
        quality: Empty rows.
        flagged: Flagged labels.
        determines_class: Whether equal rows are of one class.
    """

    def command(*words: str) -> str:
        return format_command(*words, study=study)

    actions = [
        *_list_leaks(duplicates, command),
        *(_list_contradictions(duplicates, command) if determines_class else ()),
        *_list_empty_rows(quality),
        *_list_labels(flagged, command),
    ]
    return actions[:MAX_ACTIONS]


Command = Callable[..., str]
"""Function that formats a command with the study of the page."""


def _list_leaks(duplicates: Duplicates, command: Command) -> Iterator[Action]:
    if duplicates.leaked:
        what = _count(duplicates.leaked, "query is a training row", "queries are training rows")
        why = "accuracy on them is no evidence for new data; leave them out of the training table"
        yield Action(what, why, "quality", command("review", "apply", "--drop-leaks"))


def _list_contradictions(duplicates: Duplicates, command: Command) -> Iterator[Action]:
    if duplicates.conflicting:
        groups = ("group of identical rows has", "groups of identical rows have")
        what = f"{_count(duplicates.conflicting, *groups)} different labels"
        why = "at most one label of each group is right"
        yield Action(what, why, "quality", command("review", "export", "--out", "review.csv"))


def _list_empty_rows(quality: DataQuality) -> Iterator[Action]:
    empty = quality.empty.get("training rows")
    if empty:
        rows = _count(empty, "training row has", "training rows have")
        what = f"{rows} a text without a letter or digit"
        yield Action(
            what, "nothing can be learnt from them; remove them at their source", "quality"
        )


def _list_quarantined(data: RunData) -> Iterator[Action]:
    quarantined = len(data.summary.quarantined)
    if quarantined:
        what = f"{_count(quarantined, 'query has', 'queries have')} no scores"
        yield Action(what, "their loss or solution is not finite", "trust")


def _list_targets(data: RunData, command: Command) -> Iterator[Action]:
    """List the review of doubtful labels or numbers, or the search for them."""
    name = "number" if data.target == NUMBER else "label"
    if data.doubtful is None:
        why = f"training rows with wrong {name}s can be found without a review of all rows"
        yield Action(
            f"{name.capitalize()}s were not checked", why, "suspects", command("mislabels")
        )
    elif data.doubtful.rows:
        count = _count(len(data.doubtful.rows), f"doubtful {name}", f"doubtful {name}s")
        what = f"{count} to review, the most doubtful first"
        why = "reviewed targets are evidence for the next search"
        yield Action(what, why, "suspects", command("review", "export", "--out", "review.csv"))


def _list_labels(flagged: FlaggedLabels | None, command: Command) -> Iterator[Action]:
    if flagged is None:
        why = "training rows with wrong labels can be found without a review of all rows"
        yield Action("Labels were not checked", why, "suspects", command("mislabels"))
        return
    count = len(flagged.rows)
    if not count:
        return
    first, labels = min(FIRST_ROWS, count), flagged.statement
    minutes = max(1, round(first * LOOK_SECONDS / 60))
    if labels.is_exhausted:
        if labels.command:
            what = labels.review_sentence.removesuffix(".")
            yield Action(
                what, "a random sample counts the rest", "suspects", command(*labels.words)
            )
        return
    what = f"{_count(count, 'listed label', 'listed labels')} to review, the most suspicious first"
    why = f"a look at the first {first} takes about {_count(minutes, 'minute', 'minutes')}"
    if labels.blocks:
        why = f"{labels.review_sentence.removesuffix('.')}; {why}"
    yield Action(what, why, "suspects", command("review", "export", "--out", "review.csv"))


def _list_fallen_slices(difference: RunDifference | None) -> Iterator[Action]:
    """List the slices whose accuracy fell significantly since the earlier run, as one action."""
    if difference is None:
        return
    tested = [part for part in difference.slices if part.queries >= MIN_SLICE_SIZE]
    if not tested and difference.overall:
        tested = [difference.overall]
    fallen = [part for part in tested if _has_fallen(part, len(tested))]
    if fallen:
        names = [_describe_fall(part, part is difference.overall) for part in fallen]
        why = "significantly fewer of their queries are predicted correctly than in the earlier run"
        yield Action(f"Accuracy fell on {join_first(names, 3)}", why, "changes")


def _has_fallen(part: SliceDifference, tests: int) -> bool:
    """Return whether more queries were broken than chance explains, of so many tests at once."""
    _, _, p = compare_paired_accuracy(part)
    return part.broken > part.repaired and p * tests <= MAX_P_VALUE


def _describe_fall(part: SliceDifference, is_all: bool) -> str:
    name = "all queries" if is_all else format_group_value(part.value)
    return f"{name} ({part.before:.0%} to {part.after:.0%}, {part.broken:,} broken)"


def _list_doubts(checks: Sequence[ReliabilityCheck]) -> Iterator[Action]:
    """List the failed checks of the method, and the first reason why others are inconclusive.

    Leaks and queries without scores have actions of their own.
    """
    failed = [check.name for check in checks if check.passed is False and check.name not in OF_DATA]
    if failed:
        yield Action(f"Checks failed: {join_first(failed, 4)}", "read effects with care", "trust")
    undecided = [check for check in checks if check.undecided]
    if undecided:
        names = [check.name for check in undecided if check.undecided == undecided[0].undecided]
        reason = undecided[0].undecided.removesuffix(".")
        yield Action(f"Inconclusive: {join_first(names)}", reason, "trust")


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number:,} {singular if number == 1 else plural}"
