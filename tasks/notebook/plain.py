"""Display of a result as plain text."""

import unicodedata
from collections.abc import Sequence
from io import StringIO

from rich.console import Console

from tasks.results.summary import Summary
from tasks.terminal.audit import render_summary

WIDTH = 100


def render_plain(summary: Summary, warnings: Sequence[str]) -> str:
    """Render a summary as on a terminal without colours."""
    console = Console(file=StringIO(), width=WIDTH, color_system=None, force_jupyter=False)
    console.print(render_summary(summary))
    others = [f"Check: {text}" for text in warnings if text not in summary.warnings]
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(map(clean_text, [*text.splitlines(), *others]))


def clean_text(text: str) -> str:
    r"""Replace control characters, which could control a terminal, by spaces.

    >>> clean_text("a\x1b[31mb")
    'a [31mb'
    """
    return "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)
