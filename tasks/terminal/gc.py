"""Table for the terminal: files that garbage collection removes from a store."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.results.retention import GcPlan

MEGABYTE = 1e6


def render_gc_plan(plan: GcPlan, compacted: Sequence[str], dry_run: bool) -> RenderableType:
    """Render files and bytes by reason, and their total."""
    verb = "would be removed" if dry_run else "removed"
    body: list[RenderableType] = [
        Text(f"Compacted: {', '.join(compacted)}.") if compacted else Text("", end="")
    ]
    if plan.required:
        reason = "a kept run reuses their results ([carry])"
        body.append(Text(f"Kept, since {reason}: {', '.join(plan.required)}."))
    if not plan.files:
        nothing = "Nothing to remove." if dry_run else "Nothing was removed."
        return Group(*body, Text(f"{nothing} {plan.why_nothing}"))
    table = Table("reason", "files", "MB", box=None, padding=(0, 1))
    for reason, (count, size) in sorted(plan.reasons.items()):
        table.add_row(reason, f"{count:,}", f"{size / MEGABYTE:,.1f}")
    if plan.runs:
        body.append(Text(f"Expired runs: {', '.join(plan.runs)}."))
    total = Text(f"{len(plan.files):,} files, {plan.total_bytes / MEGABYTE:,.1f} MB {verb}.")
    return Group(*body, table, total)
