"""Panel for the terminal: change of a slice's loss between two runs, by group of changed rows."""

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tasks.bisection.conclusion import Conclusion
from tasks.bisection.findings import HEAD, list_findings, list_rows

SHOWN = 12
"""Number of groups that are shown; the formats have all."""
NUMBERS = ("rows", "contribution", "stored")


def render_bisection(conclusion: Conclusion) -> RenderableType:
    """Render findings, the groups with the largest contributions, and notes."""
    bisection = conclusion.bisection
    table = Table(box=None, padding=(0, 1))
    for name in HEAD:
        table.add_column(Text(name), justify="right" if name in NUMBERS else "left")
    for row in list_rows(conclusion, SHOWN):
        table.add_row(*map(Text, row))
    findings = Text("\n".join(list_findings(conclusion)) + "\n")
    legend = (
        "Contribution: part of the change of the mean loss in nats, predicted from stored removal "
        "effects. Stored: share of the effects that the runs have; the sum is of those."
    )
    notes = Text("\n".join(["", legend, *bisection.notes]), style="dim")
    before, after = bisection.runs
    title = Text(f"{before} → {after}")
    return Panel(Group(findings, table, notes), title=title, title_align="left")
