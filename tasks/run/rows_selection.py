"""Selected number of curvature rows of a study, stored for all later runs with its settings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from storage import Store, compute_fingerprint
from tasks.run.parent_run import MAY_CHANGE
from tasks.study.study import Study

KEPT = "Earlier runs with these settings used all rows, so this one does too."
"""Reason of a selection that continues runs of a store from before rows were selected."""


@dataclass(frozen=True)
class RowsSelection:
    """Selected number of training rows in the curvature.

    Attributes:
        rows: Size of the random sample; None for all rows.
        train_rows: Number of training rows when it was selected.
        reason: One or two sentences for the user; empty if all rows are cheap.
    """

    rows: int | None
    train_rows: int
    reason: str = ""

    def apply(self, study: Study) -> Study:
        """Return the study with these rows in place of "auto"."""
        rows = "all" if self.rows is None else self.rows
        curvature = study.curvature.model_copy(update={"rows": rows})
        return study.model_copy(update={"curvature": curvature})

    def __str__(self) -> str:
        """Return one line for a summary.

        Examples:
            >>> print(RowsSelection(512, 4000, "All rows would take 2 h."))
            512, a random sample of the training rows. All rows would take 2 h.
        """
        size = (
            "all" if self.rows is None else f"{self.rows:,}, a random sample of the training rows"
        )
        return f"{size}. {self.reason}".rstrip()


def rows_digest(parts: Mapping[str, object]) -> str:
    """Return the cache key of the selected rows: the settings and models of a run, not its tables.

    The rows themselves are left out, so that runs of a study on other tables keep the selection.
    """
    curvature = {name: value for name, value in _read_curvature(parts).items() if name != "rows"}
    settings = {name: value for name, value in parts.items() if name not in MAY_CHANGE}
    return compute_fingerprint({"rows of": {**settings, "curvature": curvature}})


def has_full_run(store: Store, parts: Mapping[str, object]) -> bool:
    """Return whether the store has a run with these settings and the curvature of all rows."""
    digest = rows_digest(parts)
    records = (status.record.parts for status in store.list_runs())
    return any(
        _read_curvature(earlier).get("rows") is None and rows_digest(earlier) == digest
        for earlier in records
    )


def explain_kept_rows(selection: RowsSelection, rule: RowsSelection) -> RowsSelection:
    """Return a kept selection with a reason that is true of the present table.

    One of all rows names the sample that a new study would take, if any.

    Args:
        selection: Selection of an earlier run.
        rule: Selection that a new study would make.
    """
    if selection.rows is not None and selection.rows >= rule.train_rows:
        return replace(selection, reason=f"There are {rule.train_rows:,} now, which are all taken.")
    if selection.reason != KEPT:
        return selection
    if rule.rows is None:
        return replace(selection, reason="")
    remedy = f"A new study would take {rule.rows:,}: set [curvature] rows = {rule.rows} for that."
    return replace(selection, reason=f"{KEPT} {rule.reason} {remedy}")


def _read_curvature(parts: Mapping[str, object]) -> Mapping[str, object]:
    curvature = parts["curvature"]
    assert isinstance(curvature, Mapping)
    return curvature
