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
    rows = list_rows(conclusion, SHOWN)
    used = [place for place in range(len(HEAD)) if any(row[place] for row in rows)]
    for name in (HEAD[place] for place in used):
        table.add_column(Text(name), justify="right" if name in NUMBERS else "left")
    for row in rows:
        table.add_row(*(Text(row[place]) for place in used))
    findings = Text("\n".join(list_findings(conclusion)) + "\n")
    legend = (
        "Contribution: part of the change of the mean loss in nats, predicted from stored removal "
        "effects. Stored: share of the effects that the runs have; the sum is of those."
    )
    notes = Text("\n".join(["", legend, *bisection.notes]), style="dim")
    before, after = bisection.runs
    title = Text(f"{before} → {after}")
    return Panel(Group(findings, table, notes), title=title, title_align="left")
