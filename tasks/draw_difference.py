"""Two runs side by side, drawn for a terminal."""

from collections.abc import Iterator

import polars as pl
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from storage.comparison import BECAME, STOPPED
from tasks.compare import SHOWN, Difference

STYLES = {"numbers": "green", "order": "yellow", "nothing": "bold red"}


def draw_difference(found: Difference, before: str, after: str) -> RenderableType:
    """The verdict, accuracy by slice, then rows that became harmful and that stopped being so."""
    head = Text(f"{found.verdict}\n", style=STYLES[found.verdict.level])
    head.append(f"{found.common:,} queries were asked in both.", style="default")
    parts: list[RenderableType] = [head]
    if found.accuracy:
        parts.append(_accuracy(found))
    parts += _by_source(found)
    for change in (BECAME, STOPPED):
        parts.append(_rows(found.rows.filter(pl.col("change") == change), change))
    title = Text(f"{before} → {after}")
    return Panel(Group(*parts), title=title, title_align="left")


def _accuracy(found: Difference) -> Table:
    """Of each slice: its queries, right before and after, rows that became harmful and stopped."""
    table = Table(box=None, padding=(0, 1))
    for name in ("slice", "queries", "right before", "after", "became harmful", "stopped"):
        table.add_column(name, justify="left" if name == "slice" else "right")
    moved = {name: (f"{became}", f"{stopped}") for name, became, stopped in found.slices}
    changed = found.rows["change"]
    moved["all"] = (f"{(changed == BECAME).sum()}", f"{(changed == STOPPED).sum()}")
    for name, queries, old, new in found.accuracy:
        table.add_row(
            Text(name), f"{queries:,}", f"{old:.1%}", f"{new:.1%}", *moved.get(name, ("", ""))
        )
    return table


def _by_source(found: Difference) -> Iterator[Table]:
    """Rows that changed, by each group of the training table."""
    for column in [name for name in found.rows.columns if name.startswith("group_")]:
        table = Table(box=None, padding=(0, 1))
        table.add_column(f"training rows by {column.removeprefix('group_')}")
        for change in (BECAME, STOPPED):
            table.add_column(change, justify="right")
        counts = (
            found.rows.group_by(column)
            .agg(
                *((pl.col("change") == change).sum().alias(change) for change in (BECAME, STOPPED))
            )
            .sort(pl.sum_horizontal(BECAME, STOPPED), column, descending=[True, False])
        )
        for row in counts.head(SHOWN).iter_rows(named=True):
            table.add_row(Text(f"{row[column]}"), f"{row[BECAME]}", f"{row[STOPPED]}")
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
        marks = [name for name in ("new", "gone", "relabelled") if row[name]]
        table.add_row(
            f"{row['effect_before']:+.4f}",
            f"{row['effect_after']:+.4f}",
            Text(f"{row['id']}"),
            Text(f"{row['label']}"),
            ", ".join(marks),
        )
    return table
