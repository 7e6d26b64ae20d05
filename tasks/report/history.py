"""Numbers of the last finished runs of a store, oldest first, with gaps where none was measured."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastif import InputError
from storage import RunRecord, RunStatus, Store
from tasks.mislabels.label_statement import LabelStatement
from tasks.mislabels.stored_detections import StoredDetections
from tasks.results.candidate_recall import find_lowest_recall, is_full_scan
from tasks.results.comparability import check_effects
from tasks.results.diagnostics import read_diagnostics
from tasks.results.group_names import format_group_value
from tasks.results.leaks import count_leaked_queries
from tasks.results.slice_accuracy import bound_slices, find_group_column, wilson_interval


@dataclass(frozen=True)
class Measurement:
    """A measured number of a run.

    Attributes:
        value: The number.
        text: The number in words, with its interval.
        low: Lower bound of its interval; None without one.
        high: Upper bound of its interval; None without one.
    """

    value: float
    text: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Metric:
    """Number of a run that is followed over time.

    Attributes:
        key: Key of its limit under `[report]`.
        name: Name of the number.
        read: Function of a store and a run that measures it; None if it was not measured.
        bases: Properties that have to be equal in two runs for their numbers to be compared:
            `QUERIES`, `LABELS`, `EFFECTS` or `DETECTION`.
        is_share: Whether it is a share, shown in percent.
    """

    key: str
    name: str
    read: Callable[[Store, str], Measurement | None]
    bases: tuple[str, ...]
    is_share: bool = False


@dataclass(frozen=True)
class HistoryRun:
    """A run of the history.

    Attributes:
        run: Name of the run.
        opened: Time at which it was opened, ISO 8601 in UTC.
        queries: Number of queries.
        train_rows: Number of training rows.
        is_comparable: Whether its effects can be compared with those of the run before; False for
            the first run.
        numbers: Measured numbers by the key of their metric; None where nothing was measured.
        breaks: Changes since the run before, by basis.
    """

    run: str
    opened: str
    queries: int
    train_rows: int
    is_comparable: bool
    numbers: Mapping[str, Measurement | None]
    breaks: Mapping[str, str]

    def find_break(self, metric: Metric) -> str:
        """Return why a number cannot be compared with that of the run before; empty if it can."""
        return "; ".join(self.breaks[basis] for basis in metric.bases if basis in self.breaks)


def read_history(store: Store, last: int) -> list[HistoryRun]:
    """Read the last finished runs, oldest first.

    Args:
        store: Store of the study.
        last: Largest number of runs.

    Raises:
        InputError: The store has no intact finished run.
        StoreError: A file of a run is damaged.
    """
    statuses = [status for status in store.list_runs() if status.is_intact][:last][::-1]
    if not statuses:
        remedy = "Run `fastif audit`; a study of labels alone has no runs."
        raise InputError("--last", "a finished run in the store", "none", remedy)
    reader = _Reader(store, StoredDetections.open(store))
    before = [None, *statuses[:-1]]
    return [reader.read_run(*pair) for pair in zip(before, statuses, strict=True)]


@dataclass(frozen=True)
class _Reader:
    """Store of the runs with its detections, which are listed once."""

    store: Store
    detections: StoredDetections

    def read_run(self, before: RunStatus | None, status: RunStatus) -> HistoryRun:
        record = status.record
        numbers = {metric.key: metric.read(self.store, record.run) for metric in METRICS}
        labels = self.detections.state(record.run, record.train_rows, record.parts)
        numbers[WRONG_LABELS.key] = _measure_wrong_labels(labels)
        names = (before.record.run, record.run) if before else None
        level = check_effects(self.store, *names).level if names else "nothing"
        return HistoryRun(
            record.run,
            record.created,
            record.query_rows,
            record.train_rows,
            level != "nothing",
            numbers,
            dict(self._list_breaks(before.record, record)) if before else {},
        )

    def _list_breaks(self, before: RunRecord, record: RunRecord) -> Iterator[tuple[str, str]]:
        """Yield each basis that changed between two runs, with what changed."""
        if before.parts.get("queries") != record.parts.get("queries"):
            yield QUERIES, "the query set changed"
        if before.parts.get("labels") != record.parts.get("labels"):
            yield LABELS, "the labels of the study changed"
        comparability = check_effects(self.store, before.run, record.run)
        selected = [r for r in comparability.reasons if r.startswith(SELECTED)]
        reasons = comparability.reasons if comparability.level == "nothing" else selected
        if reasons:
            yield EFFECTS, "; ".join(reasons)
        facts = [
            self.detections.find_facts(each.run, each.train_rows, each.parts)
            for each in (before, record)
        ]
        procedures = {each.get("procedure") for each in facts if each is not None}
        if len(procedures) > 1:
            yield DETECTION, "the procedure of the search for wrong labels changed"


def _read_accuracy(store: Store, run: str) -> Measurement | None:
    correct = store.scan("queries", run).select("correct").collect()["correct"]
    right, count = int(correct.sum()), int(correct.count())
    return _measure_share(right / count, *wilson_interval(right, count)) if count else None


def _read_worst_slice(store: Store, run: str) -> Measurement | None:
    queries = store.scan("queries", run)
    group = find_group_column(queries.collect_schema().names())
    if group is None:
        return None
    slices = bound_slices(queries.select("correct", group).collect(), group)
    if not slices:
        return None
    worst = slices[0]
    name = " ".join(format_group_value(worst.value).split())
    return _measure_share(worst.accuracy, worst.low, worst.high, f"{name}: ")


def _read_recall(store: Store, run: str) -> Measurement | None:
    facts: dict[str, Any]
    facts = store.scan("runs", run).select("candidates", "recall").collect().row(0, named=True)
    lowest = find_lowest_recall(json.loads(facts["recall"] or "[]"))
    if lowest:
        share, low, high = (float(lowest[key]) for key in ("share", "low", "high"))
        return _measure_share(share, low, high)
    return Measurement(1.0, "all rows scored") if is_full_scan(facts) else None


def _read_residual(store: Store, run: str) -> Measurement | None:
    residual = read_diagnostics(store.scan("solves", run)).get("worst_residual")
    if residual is None:
        return None
    number = float(str(residual))
    return Measurement(number, f"{number:.2g}")


def _measure_wrong_labels(labels: LabelStatement) -> Measurement | None:
    count = labels.count
    if count is None or count.share is None:
        return None
    rows = max(1, count.rows)
    return Measurement(count.share, labels.share, count.low / rows, count.high / rows)


def _read_leaks(store: Store, run: str) -> Measurement:
    leaks = count_leaked_queries(store.scan("queries", run), store.scan("train", run))
    return Measurement(leaks, f"{leaks:,}")


def _measure_share(value: float, low: float, high: float, name: str = "") -> Measurement:
    return Measurement(value, f"{name}{value:.1%} ({low:.1%} - {high:.1%})", low, high)


QUERIES, LABELS, EFFECTS, DETECTION = "query set", "labels", "effects", "search for wrong labels"
"""Bases of numbers: properties that have to be equal in two runs for a comparison."""
SELECTED = ("damping:", "estimator:", "leverage:", "ranking:")
"""Starts of the reasons that name what a run selected."""
ASKED = (QUERIES, LABELS)

WRONG_LABELS = Metric(
    "wrong_labels_above", "wrong labels", lambda *_: None, (LABELS, DETECTION), is_share=True
)
METRICS = (
    Metric("accuracy_below", "accuracy", _read_accuracy, ASKED, is_share=True),
    Metric("slice_below", "worst slice", _read_worst_slice, ASKED, is_share=True),
    Metric("recall_below", "recall of candidates", _read_recall, (QUERIES, EFFECTS), is_share=True),
    Metric("residual_above", "largest residual", _read_residual, (QUERIES, EFFECTS)),
    WRONG_LABELS,
    Metric("leaks_above", "leaks", _read_leaks, (QUERIES,)),
)
"""Numbers of the history, in the order of the page."""
