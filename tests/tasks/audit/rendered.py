"""Summaries as a terminal shows them."""

from io import StringIO

from rich.console import Console

from tasks.terminal.audit import render_summary


def render(summary) -> str:
    """The summary as text, with its lines joined."""
    console = Console(file=StringIO(), width=100, color_system=None)
    console.print(render_summary(summary))
    return " ".join(console.file.getvalue().replace("│", " ").split())
