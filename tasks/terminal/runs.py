"""Table of the runs of a store, for terminals of any width."""

from collections.abc import Mapping, Sequence

from rich.cells import cell_len, chop_cells

from storage import RunStatus
from tasks.results.group_names import format_group_value
from tasks.results.run_numbers import RunNumbers
from tasks.results.slice_accuracy import SliceInterval

FINISHED, UNFINISHED, DAMAGED = "finished", "unfinished", "damaged"
GAP, UNKNOWN = 2, "-"
MAX_SLICE_CELLS = 24
"""Width of the name of a slice; longer names are shortened."""

RUN, STATE, SHARDS, ROWS, OPENED = "run", "state", "shards", "training rows", "opened"
ACCURACY, WORST, RECALL, LABELS = "accuracy", "worst slice", "recall", "wrong labels"
HEAD = (RUN, STATE, SHARDS, ACCURACY, WORST, RECALL, LABELS, ROWS, OPENED)
DROPPED = (ROWS, OPENED, SHARDS, RECALL, LABELS, WORST, ACCURACY)
"""Columns that a narrow terminal lacks, in this order; name and state are always there."""
DROPPED_LATE = (ROWS, OPENED, RECALL, LABELS, WORST, ACCURACY, SHARDS)
"""Columns that it lacks where a run is not finished: its shards say how far it is."""


def render_runs(
    statuses: Sequence[RunStatus], numbers: Mapping[str, RunNumbers], width: int
) -> list[str]:
    """Return the lines of the table.

    Columns are left out where the terminal is too narrow, and no name of a run is ever cut.

    Args:
        statuses: Runs, in the order of the lines.
        numbers: Numbers of finished runs by name.
        width: Width of the terminal.
    """
    rows = [{str(name): str(name) for name in HEAD}]
    rows += [_make_row(status, numbers.get(status.record.run)) for status in statuses]
    widths = {name: max(cell_len(row[name]) for row in rows) for name in HEAD}
    is_done = all(describe_state(status) == FINISHED for status in statuses)
    for name in DROPPED if is_done else DROPPED_LATE:
        if sum(widths.values()) + GAP * (len(widths) - 1) <= width:
            break
        del widths[name]
    return [_align(row, widths) for row in rows]


def describe_state(status: RunStatus) -> str:
    """Name the state of a run."""
    if status.is_damaged:
        return DAMAGED
    return FINISHED if status.finished else UNFINISHED


def _make_row(status: RunStatus, numbers: RunNumbers | None) -> dict[str, str]:
    record = status.record
    cells = [UNKNOWN] * 4
    if numbers:
        recall = "all" if numbers.is_full_scan else UNKNOWN
        cells = [
            UNKNOWN if numbers.accuracy is None else f"{numbers.accuracy:.1%}",
            _format_slice(numbers.worst) if numbers.worst else UNKNOWN,
            recall if numbers.recall is None else f"{numbers.recall:.2f}",
            numbers.labels.brief,
        ]
    accuracy, worst, recall, labels = cells
    return {
        RUN: record.run,
        STATE: describe_state(status),
        SHARDS: f"{status.done:,}/{status.planned:,}",
        ACCURACY: f"{accuracy} of {numbers.labelled if numbers else record.query_rows:,}",
        WORST: worst,
        RECALL: recall,
        LABELS: labels,
        ROWS: f"{record.train_rows:,}",
        OPENED: record.created[:16].replace("T", " "),
    }


def _format_slice(part: SliceInterval) -> str:
    """Format a slice on one line: its name, shortened, and its accuracy."""
    name = " ".join(format_group_value(part.value).split())
    if cell_len(name) > MAX_SLICE_CELLS:
        name = f"{chop_cells(name, MAX_SLICE_CELLS - 1)[0]}…"
    return f"{name} {part.accuracy:.1%}"


def _align(row: Mapping[str, str], widths: Mapping[str, int]) -> str:
    cells = [row[name] + " " * (width - cell_len(row[name])) for name, width in widths.items()]
    return (" " * GAP).join(cells).rstrip()
