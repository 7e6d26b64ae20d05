"""Two runs side by side, drawn for a terminal."""

from collections.abc import Iterator

import polars as pl
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from storage.run_comparison import (
    BECAME,
    ROSE,
    SANK,
    STOPPED,
)
from tasks.results.compare_runs import SHOWN, Difference, Slice
from tasks.results.group_names import ALL, name_of

MEASURED = ("queries", "right before", "after", "became harmful", "stopped")
STYLES = {"numbers": "green", "order": "yellow", "nothing": "bold red"}


def draw_difference(found: Difference, before: str, after: str) -> RenderableType:
    """The verdict, accuracy by slice, then rows that became harmful and that stopped being so."""
    head = Text(f"{found.verdict}\n", style=STYLES[found.verdict.level])
    head.append(f"{found.common:,} queries were asked in both.", style="default")
    for note in found.notes:
        head.append(f"\n{note}", style="dim")
    parts: list[RenderableType] = [head]
    if found.overall:
        parts.append(_accuracy(found, found.overall))
    if found.rows is not None:
        parts += _by_source(found.rows)
        parts += [_rows(found.rows.filter(change=change), change) for change in (BECAME, STOPPED)]
        parts.append(Text(f"\n{_others(found)}", style="dim"))
    title = Text(f"{before} → {after}")
    return Panel(Group(*parts), title=title, title_align="left")


def _accuracy(found: Difference, overall: Slice) -> Table:
    """Of each slice: its queries, right before and after, rows that became harmful and stopped."""
    table = Table(box=None, padding=(0, 1))
    for name in (found.group or "slice", *MEASURED):
        table.add_column(Text(name), justify="right" if name in MEASURED else "left")
    for name, part in [(ALL, overall), *((name_of(part.value), part) for part in found.slices)]:
        shares = (f"{part.before:.1%}", f"{part.after:.1%}")
        moved = ("-" if count is None else f"{count}" for count in (part.became, part.stopped))
        table.add_row(Text(name), f"{part.queries:,}", *shares, *moved)
    return table


def _others(found: Difference) -> str:
    """Rows that entered or left the worst since other rows moved."""
    return (
        f"{found.count(ROSE)} more entered the worst rows and {found.count(SANK)} left them, their "
        "own harm not known to have doubled or halved: others moved."
    )


def _by_source(rows: pl.DataFrame) -> Iterator[Table]:
    """Rows that became harmful or stopped, by each group of the training table."""
    rows = rows.filter(pl.col("change").is_in([BECAME, STOPPED]))
    for column in [name for name in rows.columns if name.startswith("group_")]:
        table = Table(box=None, padding=(0, 1))
        table.add_column(Text(f"training rows by {column.removeprefix('group_')}"))
        for change in (BECAME, STOPPED):
            table.add_column(change, justify="right")
        counts = (
            rows.group_by(column)
            .agg(
                *((pl.col("change") == change).sum().alias(change) for change in (BECAME, STOPPED))
            )
            .sort(pl.sum_horizontal(BECAME, STOPPED), column, descending=[True, False])
        )
        for row in counts.head(SHOWN).iter_rows(named=True):
            table.add_row(Text(name_of(row[column])), f"{row[BECAME]}", f"{row[STOPPED]}")
        if not counts.is_empty():
            yield table


def _rows(rows: pl.DataFrame, change: str) -> RenderableType:
    title = f"\n{len(rows)} training rows {change if change == BECAME else 'stopped being harmful'}"
    if rows.is_empty():
        return Text(title, style="dim")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    for name in ("before", "after", "training row", "label", ""):
        table.add_column(name, justify="right" if name in ("before", "after") else "left")
    for row in rows.head(SHOWN).iter_rows(named=True):
        marks = [name for name in ("new", "gone", "relabelled", "edited") if row[name]]
        table.add_row(
            f"{row['effect_before']:+.4f}",
            f"{row['effect_after']:+.4f}",
            Text(f"{row['id']}"),
            Text(f"{row['label']}"),
            ", ".join(marks),
        )
    return table
