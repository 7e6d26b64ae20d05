"""Terminal output of applied annotations: changes by reason and label, and unchanged rows."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from tasks.mislabels.apply_annotations import DISPUTED, EDITED, GONE, Correction

HINTS = {
    DISPUTED: "`fastif review conflicts` lists them",
    EDITED: "export and review them again",
    GONE: "their annotations have no use",
}
"""Hints on rows with annotations that change nothing."""


def render_changes(correction: Correction) -> Table:
    """Render the number of changed rows by reason, label before and label after."""
    table = Table("reason", "before", "after")
    table.add_column("rows", justify="right")
    for (reason, before, after), rows in sorted(correction.count_reasons().items()):
        table.add_row(Text(reason), Text(before), Text(after or "(dropped)"), f"{rows:,}")
    return table


def describe_unchanged(correction: Correction) -> Iterator[str]:
    """Describe annotated rows that do not change, one line a reason."""
    for reason, rows in correction.unchanged.items():
        hint = f" ({HINTS[reason]})" if reason in HINTS else ""
        yield f"Rows with annotations that do not change, {reason}: {rows:,}{hint}."
