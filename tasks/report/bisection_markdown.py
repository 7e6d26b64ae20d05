"""Bisection of two runs as Markdown: numbers, sources and labels, no text of an example."""

from tasks.bisection.conclusion import Conclusion
from tasks.bisection.findings import HEAD, list_findings, list_rows
from tasks.report.markdown import escape_markdown


def render_bisection_markdown(conclusion: Conclusion) -> str:
    """Render findings, the table of groups, and notes."""
    before, after = map(escape_markdown, conclusion.bisection.runs)
    rows = [HEAD, ["---"] * len(HEAD), *map(_escape_cells, list_rows(conclusion))]
    parts = [
        [f"# Bisection of runs {before} and {after}"],
        [f"- {escape_markdown(line)}" for line in list_findings(conclusion)],
        [f"| {' | '.join(row)} |" for row in rows],
        [f"- {escape_markdown(note)}" for note in conclusion.bisection.notes],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _escape_cells(row: tuple[str, ...]) -> list[str]:
    return [escape_markdown(cell) for cell in row]
