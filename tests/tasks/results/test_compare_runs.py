"""Runs with incomparable effects have no counts."""

import polars as pl
from rich.console import Console

from tasks.results.comparability import Comparability
from tasks.results.compare_runs import RunDifference, RunPair, SliceDifference
from tasks.terminal.diff import render_difference


def test_runs_that_cannot_be_compared_have_no_counts():
    part = SliceDifference(None, 12, 0.5, 0.5, None, None)
    difference = RunDifference(
        Comparability("nothing", ("damping",)), part, "source", (part,), None, ()
    )
    console = Console(record=True, width=160, file=None, quiet=False)
    with console.capture() as captured:
        console.print(render_difference(difference, "one", "two"))
    assert "Effects cannot be compared" in captured.get()
    assert "training rows" not in captured.get()
    assert "(all)" in captured.get()
    assert "most harmful" not in captured.get()
    assert difference.count("left") is None


def test_runs_that_cannot_be_compared_have_no_changed_rows():
    sides = RunPair(None, None, None, 100, "nothing")  # type: ignore[arg-type]
    assert sides.find_changes(pl.DataFrame()) is None
