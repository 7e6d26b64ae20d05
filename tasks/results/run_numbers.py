"""Numbers of finished runs for their list: accuracy, worst slice, recall, suspicious labels."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from storage import RunStatus, Store, StoreError
from tasks.mislabels.suspicious_count import SuspiciousCounts
from tasks.results.candidate_recall import find_lowest_recall, is_full_scan
from tasks.results.slice_accuracy import SliceInterval, bound_slices, find_group_column

Warn = Callable[[str], None]


@dataclass(frozen=True)
class RunNumbers:
    """Numbers of one finished run.

    Attributes:
        accuracy: Share of the queries that is predicted correctly.
        worst: Slice with the lowest upper confidence bound; None without groups, or without a slice
            of enough queries.
        recall: Lowest measured recall of the candidates; None if it was not measured.
        is_full_scan: Whether every training row was scored.
        suspicious: Number of suspicious labels of the newest detection among exactly the training
            rows; None without one.
    """

    accuracy: float
    worst: SliceInterval | None
    recall: float | None
    is_full_scan: bool
    suspicious: int | None


def read_run_numbers(
    store: Store, statuses: Iterable[RunStatus], warn: Warn
) -> dict[str, RunNumbers]:
    """Read the numbers of the intact, finished runs; only the columns that they need.

    Args:
        store: Store of the study.
        statuses: Runs of the store.
        warn: Function that gets a sentence on each run, or detection, that cannot be read.

    Returns:
        Numbers by the name of the run; runs that cannot be read are left out.
    """
    counts = _open_counts(store, warn)
    numbers = {}
    for status in statuses:
        if not status.is_intact:
            continue
        run = status.record.run
        try:
            numbers[run] = _read_numbers(store, status, counts)
        except (StoreError, pl.exceptions.PolarsError, OSError, ValueError, KeyError):
            warn(f"Run {run} cannot be read; fastif verify names what is damaged.")
    return numbers


def _open_counts(store: Store, warn: Warn) -> SuspiciousCounts:
    try:
        return SuspiciousCounts.open(store)
    except StoreError:
        warn("Suspicious labels are not counted: a detection is damaged; fastif verify names it.")
        return SuspiciousCounts(store, [])


def _read_numbers(store: Store, status: RunStatus, counts: SuspiciousCounts) -> RunNumbers:
    run, record = status.record.run, status.record
    queries = store.scan("queries", run)
    group = find_group_column(queries.collect_schema().names())
    rows = queries.select("correct", *([group] if group else [])).collect()
    facts = store.scan("runs", run).select("candidates", "recall").collect().row(0, named=True)
    lowest = find_lowest_recall(json.loads(facts["recall"] or "[]"))
    slices = bound_slices(rows, group) if group else []
    return RunNumbers(
        accuracy=int(rows["correct"].sum()) / len(rows),
        worst=slices[0] if slices else None,
        recall=float(lowest["share"]) if lowest else None,
        is_full_scan=is_full_scan(facts),
        suspicious=counts.count(run, record.train_rows, record.parts),
    )
