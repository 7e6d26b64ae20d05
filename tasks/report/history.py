"""Numbers of the last finished runs of a store, oldest first, with gaps where none was measured."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastif import InputError
from storage import RunStatus, Store
from tasks.mislabels.label_count import read_label_count
from tasks.mislabels.results import read_matching_results
from tasks.results.candidate_recall import find_lowest_recall, is_full_scan
from tasks.results.comparability import check_comparability
from tasks.results.diagnostics import read_diagnostics
from tasks.results.group_names import format_group_value
from tasks.results.slice_accuracy import bound_slices, find_group_column, wilson_interval
from tasks.results.summary import count_leaked_queries


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
        read: Function of the store and a run that measures it; None if it was not measured.
        is_share: Whether it is a share, shown in percent.
    """

    key: str
    name: str
    read: Callable[[Store, str], Measurement | None]
    is_share: bool = False


@dataclass(frozen=True)
class HistoryRun:
    """A run of the history.

    Attributes:
        run: Name of the run.
        opened: Time at which it was opened, ISO 8601 in UTC.
        queries: Number of queries.
        train_rows: Number of training rows.
        is_comparable: Whether it can be compared with the run before; False for the first run.
        numbers: Measured numbers by the key of their metric; None where nothing was measured.
    """

    run: str
    opened: str
    queries: int
    train_rows: int
    is_comparable: bool
    numbers: Mapping[str, Measurement | None]


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
    before = [None, *statuses[:-1]]
    return [_read_run(store, *pair) for pair in zip(before, statuses, strict=True)]


def _read_run(store: Store, before: RunStatus | None, status: RunStatus) -> HistoryRun:
    record = status.record
    level = check_comparability(before.record, record).level if before else "nothing"
    numbers = {metric.key: metric.read(store, record.run) for metric in METRICS}
    return HistoryRun(
        record.run,
        record.created,
        record.query_rows,
        record.train_rows,
        level != "nothing",
        numbers,
    )


def _read_accuracy(store: Store, run: str) -> Measurement | None:
    correct = store.scan("queries", run).select("correct").collect()["correct"]
    right, count = int(correct.sum()), len(correct)
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


def _read_wrong_labels(store: Store, run: str) -> Measurement | None:
    results = read_matching_results(store, store.scan("train", run).collect())
    count = read_label_count(results[0].facts) if results else None
    if count is None or count.share is None:
        return None
    rows = max(1, count.rows)
    return _measure_share(count.share, count.low / rows, count.high / rows)


def _read_leaks(store: Store, run: str) -> Measurement:
    leaks = count_leaked_queries(store.scan("queries", run), store.scan("train", run))
    return Measurement(leaks, f"{leaks:,}")


def _measure_share(value: float, low: float, high: float, name: str = "") -> Measurement:
    return Measurement(value, f"{name}{value:.1%} ({low:.1%} - {high:.1%})", low, high)


METRICS = (
    Metric("accuracy_below", "accuracy", _read_accuracy, is_share=True),
    Metric("slice_below", "worst slice", _read_worst_slice, is_share=True),
    Metric("recall_below", "recall of candidates", _read_recall, is_share=True),
    Metric("residual_above", "largest residual", _read_residual),
    Metric("wrong_labels_above", "wrong labels", _read_wrong_labels, is_share=True),
    Metric("leaks_above", "leaks", _read_leaks),
)
"""Numbers of the history, in the order of the page."""
