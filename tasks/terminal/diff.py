"""Panel for the terminal: comparison of two runs."""

from collections.abc import Iterator, Sequence

import polars as pl
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from storage.run_comparison import (
    BECAME_HARMFUL,
    MOVED_UP,
    OVERTAKEN,
    STOPPED_HARMING,
)
from tasks.results.compare_runs import SHOWN, RunDifference, SliceDifference
from tasks.results.group_names import ALL, format_group_value

MEASURED = ("queries", "accuracy before", "after", "newly harmful", "no longer harmful")
MAX_SLICES = 20
"""Number of slices that are shown: a group of dates has hundreds."""
CHANGES = {BECAME_HARMFUL: "newly harmful", STOPPED_HARMING: "no longer harmful"}
STYLES = {"numbers": "green", "order": "yellow", "nothing": "bold red"}


def render_difference(difference: RunDifference, before: str, after: str) -> RenderableType:
    """Render comparability, accuracy by slice, newly harmful rows and no longer harmful ones."""
    head = Text(f"{difference.comparability}\n", style=STYLES[difference.comparability.level])
    head.append(f"{difference.common_queries:,} queries are in both runs.", style="default")
    for note in difference.notes:
        head.append(f"\n{note}", style="dim")
    body: list[RenderableType] = [head]
    if difference.overall:
        body.append(_make_accuracy_table(difference, difference.overall))
    if difference.rows is not None:
        body += _make_source_tables(difference.rows)
        body += [
            _make_row_table(difference.rows.filter(change=change), change)
            for change in (BECAME_HARMFUL, STOPPED_HARMING)
        ]
        body.append(Text(f"\n{_describe_displaced_rows(difference)}", style="dim"))
    title = Text(f"{before} → {after}")
    return Panel(Group(*body), title=title, title_align="left")


def _make_accuracy_table(difference: RunDifference, overall: SliceDifference) -> Table:
    """Table with queries, accuracy before and after, and counts of changed rows of each slice."""
    table = Table(box=None, padding=(0, 1))
    for name in (difference.group or "slice", *MEASURED):
        table.add_column(Text(name), justify="right" if name in MEASURED else "left")
    for name, slice_difference in [
        (ALL, overall),
        *(
            (format_group_value(slice_difference.value), slice_difference)
            for slice_difference in _select_slices(difference.slices)
        ),
    ]:
        shares = (f"{slice_difference.before:.1%}", f"{slice_difference.after:.1%}")
        counts = (
            "-" if count is None else f"{count}"
            for count in (slice_difference.newly_harmful, slice_difference.no_longer_harmful)
        )
        table.add_row(Text(name), f"{slice_difference.queries:,}", *shares, *counts)
    if len(difference.slices) > MAX_SLICES:
        table.add_row(Text(f"and {len(difference.slices) - MAX_SLICES} smaller ones", style="dim"))
    return table


def _select_slices(slices: Sequence[SliceDifference]) -> list[SliceDifference]:
    """Select the slices with most queries, in the given order."""
    order = sorted(range(len(slices)), key=lambda i: -slices[i].queries)[:MAX_SLICES]
    return [slices[i] for i in sorted(order)]


def _describe_displaced_rows(difference: RunDifference) -> str:
    """Sentence on rows that entered or left the most harmful ones because other rows changed."""
    return (
        f"{difference.count(MOVED_UP)} more rows entered the most harmful ones and "
        f"{difference.count(OVERTAKEN)} more left them, without a doubled or halved harm of "
        "their own: other rows changed."
    )


def _make_source_tables(rows: pl.DataFrame) -> Iterator[Table]:
    """Tables of newly and no longer harmful rows by each group column of the training table."""
    rows = rows.filter(pl.col("change").is_in([BECAME_HARMFUL, STOPPED_HARMING]))
    for column in [name for name in rows.columns if name.startswith("group_")]:
        table = Table(box=None, padding=(0, 1))
        table.add_column(Text(f"training rows by {column.removeprefix('group_')}"))
        for change in (BECAME_HARMFUL, STOPPED_HARMING):
            table.add_column(CHANGES[change], justify="right")
        counts = (
            rows.group_by(column)
            .agg(
                *(
                    (pl.col("change") == change).sum().alias(change)
                    for change in (BECAME_HARMFUL, STOPPED_HARMING)
                )
            )
            .sort(
                pl.sum_horizontal(BECAME_HARMFUL, STOPPED_HARMING), column, descending=[True, False]
            )
        )
        for row in counts.head(SHOWN).iter_rows(named=True):
            table.add_row(
                Text(format_group_value(row[column])),
                f"{row[BECAME_HARMFUL]}",
                f"{row[STOPPED_HARMING]}",
            )
        if not counts.is_empty():
            yield table


def _make_row_table(rows: pl.DataFrame, change: str) -> RenderableType:
    title = f"\n{len(rows)} training rows {CHANGES[change]}"
    if rows.is_empty():
        return Text(title, style="dim")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    for name in ("effect before", "after", "training row", "label", ""):
        table.add_column(name, justify="right" if name in ("effect before", "after") else "left")
    for row in rows.head(SHOWN).iter_rows(named=True):
        notes = [name for name in ("new", "gone", "relabelled", "edited") if row[name]]
        notes = ["removed" if name == "gone" else name for name in notes]
        table.add_row(
            f"{row['effect_before']:+.4f}",
            f"{row['effect_after']:+.4f}",
            Text(f"{row['id']}"),
            Text(f"{row['label']}"),
            ", ".join(notes),
        )
    return table
