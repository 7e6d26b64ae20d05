"""What a corrected model does to slices of examples, as a table."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tasks.correction.slice_changes import SliceChange


def render_slice_changes(slices: Sequence[SliceChange]) -> Table:
    """Accuracy before and after and the change of the mean loss, a row a slice.

    Args:
        slices: what was measured before and after the correction.
    """
    table = Table("slice", "rows", "before", "after", "loss, nats", "95 %")
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
