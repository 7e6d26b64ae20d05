"""Rendering of the annotators' accuracy, and of the rows that need one more annotation."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.mislabels.annotator_tables import AnnotatorTables

SHOWN_ANNOTATORS = 30
"""Number of annotators that are shown: the best and the worst, half each."""
MIN_GAIN = 0.005
"""Least expected gain of one more annotation that is worth it."""


def render_annotators(tables: AnnotatorTables, shown: int) -> RenderableType:
    """Render the accuracy of the annotators with intervals, and the first rows of the queue.

    Args:
        tables: Consensus of the rows and accuracy of the annotators.
        shown: Number of rows to show.
    """
    return Group(_make_annotator_panel(tables), _make_row_panel(tables, shown))


def _make_annotator_panel(tables: AnnotatorTables) -> RenderableType:
    table = Table(box=None, padding=(0, 1))
    heads = ("annotator", "annotations", "accuracy", "90 % interval", "most frequent error")
    for name in heads:
        table.add_column(name, justify="left" if name in (heads[0], heads[-1]) else "right")
    frame = tables.annotators
    half = SHOWN_ANNOTATORS // 2
    left_out = len(frame) - SHOWN_ANNOTATORS
    parts = [frame] if left_out <= 0 else [frame.head(half), frame.tail(half)]
    for part in parts:
        if part is not parts[0]:
            table.add_row(Text(f"and {left_out} more", style="dim"))
        for name, count, accuracy, low, high, confused in part.iter_rows():
            interval = f"{low:.1%} - {high:.1%}"
            cells = (f"{count:,}", f"{accuracy:.1%}", interval, Text(confused))
            table.add_row(Text(name), *cells)
    return Panel(table, title="annotators", title_align="left")


def _make_row_panel(tables: AnnotatorTables, shown: int) -> RenderableType:
    rows = tables.rows
    # A row without annotations has no consensus that could be wrong.
    wrong = float((1 - rows.filter(rows["annotations"] > 0)["probability"]).sum())
    lines = [
        f"{len(rows):,} rows, {rows['annotations'].sum():,} annotations; about {wrong:,.0f} "
        "consensus labels are expected to be wrong, if errors of annotators are independent."
    ]
    if count := int((rows["annotations"] == 0).sum()):
        lines.append(f"{count:,} rows have no annotation, and no consensus.")
    queue = rows.filter(rows["gain"] >= MIN_GAIN).sort("rank")
    first = ", of which the first are:" if len(queue) else "."
    lines.append(f"One more annotation may change {len(queue):,} rows{first}")
    table = Table(box=None, padding=(0, 1))
    for name in ("row", "consensus", "probability", "annotations", "agreeing"):
        table.add_column(name, justify="left" if name in ("row", "consensus") else "right")
    for row in queue.head(shown).iter_rows(named=True):
        cells = (f"{row['probability']:.2f}", f"{row['annotations']}", f"{row['agreeing']}")
        table.add_row(Text(row["row"]), Text(row["consensus"] or "-"), *cells)
    body: list[RenderableType] = [Text("\n".join(lines))]
    return Panel(Group(*body, *([table] if len(queue) else [])), title="rows", title_align="left")
