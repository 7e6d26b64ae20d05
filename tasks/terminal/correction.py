"""Table of the change of accuracy and loss by slice after a correction."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tasks.correction.slice_changes import SliceChange


def render_slice_changes(slices: Sequence[SliceChange]) -> Table:
    """Render accuracy before and after, and the change of the mean loss, one slice per row.

    Args:
        slices: Measurements of each slice before and after the correction.
    """
    names = ("slice", "rows", "accuracy before", "after", "change of loss, nats", "95 % interval")
    table = Table(*names)
    for change in slices:
        table.add_row(
            Text(change.name),
            f"{change.rows:,}",
            f"{change.before:.1%}",
            f"{change.after:.1%}",
            f"{change.loss:+.3f}",
            f"{change.low:+.3f} to {change.high:+.3f}",
        )
    return table
