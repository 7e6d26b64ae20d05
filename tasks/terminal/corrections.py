"""Terminal output of applied annotations: changes by reason and label, and unchanged rows."""

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from tasks.mislabels.apply_annotations import DISPUTED, EDITED, FOREIGN, Correction
from tasks.study.errors import format_value, join_some

LISTED = (DISPUTED, FOREIGN, EDITED)
"""Reasons whose rows need a decision."""
MAX_SHOWN = 5


def render_changes(correction: Correction) -> Table:
    """Render the number of changed rows by reason, label before and label after."""
    table = Table("reason", "before", "after")
    table.add_column("rows", justify="right")
    for (reason, before, after), rows in sorted(correction.count_reasons().items()):
        table.add_row(Text(reason), Text(before), Text(after or "(dropped)"), f"{rows:,}")
    return table


def describe_unchanged(correction: Correction, ids: Sequence[str]) -> Iterator[str]:
    """Describe annotated rows that do not change, one line a reason, and those that are gone.

    Args:
        correction: Corrected rows.
        ids: Ids of all rows before.
    """
    for reason, positions in correction.unchanged.items():
        names = join_some((format_value(ids[i], 40) for i in positions), MAX_SHOWN)
        listed = f" (ids {names})" if reason in LISTED else ""
        yield f"Annotated rows without a change, {reason}: {len(positions):,}{listed}."
    if correction.gone:
        yield f"Annotated rows that are no longer in the table: {correction.gone:,}."
