"""A comparison of two runs on the terminal."""

from rich.console import Console

from tasks.results.comparability import Comparability
from tasks.results.compare_runs import RunDifference, SliceDifference
from tasks.terminal.diff import MAX_SLICES, render_difference


def _render(difference: RunDifference) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(render_difference(difference, "monday", "tuesday"))
    return captured.get()


def make_difference(level: str, slices: int = 0) -> RunDifference:
    overall = SliceDifference(None, 500, 0.5, 0.75, None, None)
    by_date = tuple(
        SliceDifference(f"2026-{i:03}", i + 1, 0.5, 0.5, None, None) for i in range(slices)
    )
    return RunDifference(Comparability(level, ()), overall, "date", by_date, None, ())


def test_the_largest_slices_are_shown_and_the_others_are_counted():
    text = _render(make_difference("nothing", slices=300))
    shown = [f"2026-{i:03}" for i in range(300) if f"2026-{i:03}" in text]
    assert shown == [f"2026-{i:03}" for i in range(300 - MAX_SLICES, 300)]
    assert f"and {300 - MAX_SLICES} smaller ones" in text
    assert "smaller ones" not in _render(make_difference("nothing", slices=MAX_SLICES))


def test_a_comparison_that_cannot_be_made_has_no_counts():
    text = _render(make_difference("nothing"))
    assert "Effects cannot be compared" in text
    row = next(line for line in text.splitlines() if "(all)" in line)
    accuracies, paired = ["(all)", "500", "50.0%", "75.0%"], ["-0.6", "to", "+0.6", "0", "0", "1"]
    assert row.strip(" │").split() == [*accuracies, *paired], "no counts of rows"
    assert "training rows" not in text
