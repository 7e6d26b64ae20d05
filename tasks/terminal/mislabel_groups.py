"""Panels of suspicious labels by group: source, annotator or region."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.mislabels.group_counts import MAX_VALUES, count_by_group
from tasks.mislabels.informed_ranking import select_informed
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.strength import PROBABILITY, is_calibrated
from tasks.results.group_names import format_group_value
from tasks.results.suspicious_groups import describe_excesses

MAX_GROUPS = 8
"""Number of values of a group column that are shown."""


def make_group_panels(result: MislabelResult) -> Iterator[RenderableType]:
    """Render the suspicious labels by each group column; nothing without groups."""
    table = select_informed(result.table, result.facts)
    means = [f"mean {PROBABILITY}"] if is_calibrated(result.facts) else []
    for counts in count_by_group(table, result.facts["budget"]):
        title = Text(f"suspicious labels by {counts.name}")
        if not counts.values:
            note = f"{counts.distinct:,} values, too many to count by (up to {MAX_VALUES})"
            yield Panel(Text(note), title=title, title_align="left")
            continue
        shown = Table(box=None, padding=(0, 1))
        shown.add_column(Text(counts.name))
        heads = ("rows", f"of the first {counts.window:,}", "by size", *means)
        for name in heads:
            shown.add_column(name, justify="right")
        for count in counts.values[:MAX_GROUPS]:
            mean = "-" if count.mean_probability is None else f"{count.mean_probability:.3f}"
            cells = (f"{count.rows:,}", f"{count.suspicious:,}", f"{count.by_size:.1f}")
            mean_cells = [mean] if means else []
            shown.add_row(Text(format_group_value(count.value)), *cells, *mean_cells)
        lines = [Text(line, style="bold red") for line in describe_excesses(counts)]
        if len(counts.values) > MAX_GROUPS:
            lines.append(Text(f"and {len(counts.values) - MAX_GROUPS} more values", style="dim"))
        yield Panel(Group(shown, *lines), title=title, title_align="left")
