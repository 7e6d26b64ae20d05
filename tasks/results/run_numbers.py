"""Numbers of finished runs for their list: accuracy, worst slice, recall, wrong labels."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from storage import RunStatus, Store, StoreError
from tasks.mislabels.label_statement import LabelStatement
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.stored_detections import StoredDetections
from tasks.results.candidate_recall import find_lowest_recall, is_full_scan
from tasks.results.slice_accuracy import SliceInterval, bound_slices, find_group_column

Warn = Callable[[str], None]


@dataclass(frozen=True)
class RunNumbers:
    """Numbers of one finished run.

    Attributes:
        accuracy: Share of the queries with labels that is predicted correctly; None without any.
        labelled: Number of queries with labels.
        worst: Slice with the lowest upper confidence bound; None without groups, or without a slice
            of enough queries.
        recall: Lowest measured recall of the candidates; None if it was not measured.
        is_full_scan: Whether every training row was scored.
        labels: Statement on the number of wrong labels, by the newest detection among exactly the
            training rows.
    """

    accuracy: float | None
    labelled: int
    worst: SliceInterval | None
    recall: float | None
    is_full_scan: bool
    labels: LabelStatement


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
    detections = _open_detections(store, warn)
    numbers = {}
    for status in statuses:
        if not status.is_intact:
            continue
        run = status.record.run
        try:
            numbers[run] = _read_numbers(store, status, detections)
        except (StoreError, pl.exceptions.PolarsError, OSError, ValueError, KeyError):
            warn(f"Run {run} cannot be read; fastif verify names what is damaged.")
    return numbers


def _open_detections(store: Store, warn: Warn) -> StoredDetections:
    try:
        return StoredDetections.open(store)
    except StoreError:
        warn("Wrong labels are not stated: a detection is damaged; fastif verify names it.")
        return StoredDetections(store, [], Annotations())


def _read_numbers(store: Store, status: RunStatus, detections: StoredDetections) -> RunNumbers:
    run, record = status.record.run, status.record
    queries = store.scan("queries", run)
    group = find_group_column(queries.collect_schema().names())
    rows = queries.select("correct", *([group] if group else [])).collect()
    facts = store.scan("runs", run).select("candidates", "recall").collect().row(0, named=True)
    lowest = find_lowest_recall(json.loads(facts["recall"] or "[]"))
    slices = bound_slices(rows, group) if group else []
    labelled = int(rows["correct"].count())
    return RunNumbers(
        accuracy=int(rows["correct"].sum()) / labelled if labelled else None,
        labelled=labelled,
        worst=slices[0] if slices else None,
        recall=float(lowest["share"]) if lowest else None,
        is_full_scan=is_full_scan(facts),
        labels=detections.state(run, record.train_rows, record.parts),
    )
