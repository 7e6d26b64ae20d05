"""Counts of wrong labels by label and by group, with the random audit sample behind them."""

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.mislabels.label_count import LabelCount, make_label_count, read_label_count
from tasks.mislabels.label_statement import MIN_SAMPLED, LabelStatement
from tasks.mislabels.sample_changes import describe_sample_changes
from tasks.results.group_names import ALL, format_group_value

MAX_VALUES = 12
"""Number of values of a group column that are shown."""
MAX_BLOCKS = 8
"""Number of blocks of reviewed rows that are shown, the last ones."""
TOO_FEW = "too few"
INTERVALS = (
    "The 90 % intervals may be read after every annotation. Each label and group is estimated by "
    "itself, so that they need not add up to the total"
)


def format_count(count: LabelCount | None) -> tuple[str, str, str]:
    """Format estimate, interval and share; dashes without a count, words without an estimate."""
    if count is None:
        return ("-", "-", "-")
    interval = f"{count.low:,.0f} - {count.high:,.0f}"
    if count.expected is None or count.share is None:
        return (TOO_FEW, interval, "-")
    return (f"{count.expected:,.0f}", interval, f"{count.share:.1%}")


def format_counts(facts: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Cells by label: rows, estimated wrong labels, interval and share; dashes if unknown."""
    rows = []
    for label in (*facts["by_label"], None):
        size = facts["rows"] if label is None else facts["by_label"][label]["rows"]
        count = read_label_count(facts, label)
        size = size if count is None else count.rows
        # Formatted like a group's value, since a label may be named "all".
        name = ALL if label is None else format_group_value(label)
        rows.append((name, f"{size:,}", *format_count(count)))
    if read_label_count(facts) and facts["drawn"]["later"]:
        rows.append(("(added after sampling)", f"{facts['drawn']['later']:,}", "-", "-", "-"))
    return rows


def make_error_panels(facts: dict[str, Any]) -> Iterator[RenderableType]:
    """Render the estimated wrong labels by each group column; nothing without a random sample."""
    for name, values in facts.get("by_group", {}).items():
        table = Table(box=None, padding=(0, 1))
        table.add_column(Text(name))
        for head in ("rows", "annotated", "wrong", "90 % interval", "share"):
            table.add_column(head, justify="right")
        for row in values[:MAX_VALUES]:
            cells = (f"{row['counted']:,}", f"{row['verdicts']:,}")
            cells += format_count(make_label_count(row))
            table.add_row(Text(format_group_value(row["value"])), *cells)
        more = len(values) - MAX_VALUES
        rest = [Text(f"and {more} more values", style="dim")] if more > 0 else []
        yield Panel(Group(table, *rest), title=Text(f"wrong labels by {name}"), title_align="left")


def describe_random_audit(facts: dict[str, Any]) -> list[str]:
    """Describe the random audit sample and its limits; empty without one."""
    audit = facts.get("drawn")
    if audit is None:
        return []
    head = f"{audit['rows']:,} annotated rows, {audit['wrong']:,} of them wrong: "
    lines = [f"{head}estimate and probabilities are calibrated by them. {INTERVALS}"]
    if read_label_count(facts) is None:
        lines = [f"{head}too few for an estimate ({MIN_SAMPLED} are needed)"]
    return [*lines, *describe_sample_changes(facts)]


def describe_blocks(labels: LabelStatement) -> list[str]:
    """Describe the precision of the last blocks of reviewed rows, with the stopping rule."""
    if not labels.blocks:
        return []
    blocks = "; ".join(map(str, labels.blocks[-MAX_BLOCKS:]))
    return [f"of reviewed rows {blocks}. {labels.rule}"]
