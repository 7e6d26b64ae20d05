"""What goes of a store, drawn for a terminal."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.results.retention import Sweep

MEGABYTE = 1e6


def draw_sweep(found: Sweep, compacted: Sequence[str], dry_run: bool) -> RenderableType:
    """A row for each reason, and the sum."""
    verb = "would be removed" if dry_run else "removed"
    parts: list[RenderableType] = [
        Text(f"Compacted: {', '.join(compacted)}.") if compacted else Text("", end="")
    ]
    if not found.files:
        return Group(*parts, Text(f"Nothing {'to remove' if dry_run else 'had to go'}."))
    table = Table("why", "files", "MB", box=None, padding=(0, 1))
    for why, (count, size) in sorted(found.reasons.items()):
        table.add_row(why, f"{count:,}", f"{size / MEGABYTE:,.1f}")
    if found.runs:
        parts.append(Text(f"Runs forgotten: {', '.join(found.runs)}."))
    total = Text(f"{len(found.files):,} files, {found.bytes / MEGABYTE:,.1f} MB {verb}.")
    return Group(*parts, table, total)
