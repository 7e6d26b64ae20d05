"""The findings of a report as Markdown: numbers, names of groups and ids, no example text."""

import re
from collections.abc import Iterable, Sequence

from tasks.report.actions import Action
from tasks.report.built_report import BuiltReport
from tasks.report.formatting import escape_unprintable
from tasks.report.report_marks import HEADS
from tasks.results.group_names import format_group_value
from tasks.results.limits import LimitTest

_MARKUP = re.compile(r"[\\|<\[\]*`&]")


def render_report_markdown(page: BuiltReport, link: str = "") -> str:
    """Render the facts of a report: what to do, tests, summary, checks and counts.

    Args:
        page: Report that was built.
        link: Address of the page; omitted if empty.
    """
    actions = [_format_action(number, action) for number, action in enumerate(page.actions, 1)]
    checks = [list(row.values()) for row in page.reliability]
    parts = [
        [f"{HEADS[0] if page.has_audit else '# Data quality, '}{escape_markdown(page.run)}"],
        *([[f"Compared with run {escape_markdown(page.against)}."]] if page.against else []),
        ["## Do now", "", *(actions or ["Nothing."])],
        _make_table("Tests", ("result", "test", "measured", "limit"), map(_list_cells, page.tests)),
        ["## Summary", "", *(f"- {escape_markdown(sentence)}" for sentence in page.headline)],
        _make_table("Reliability", ("check", "measured", "result"), checks),
        _make_table("Counts", ("count", "number"), _list_counts(page)),
        *([[f"[Report page]({link})"]] if link else []),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _format_action(number: int, action: Action) -> str:
    """Format an action on one line; its command is code, ready to be copied."""
    line = f"{number}. {escape_markdown(action.what)}: {escape_markdown(action.why)}."
    fence = "``" if "`" in action.command else "`"
    return f"{line} {fence}{action.command}{fence}" if action.command else line


def _list_cells(test: LimitTest) -> tuple[str, ...]:
    result = test.status.upper() if test.limit is not None else str(test.status)
    return result, test.name, test.measured, test.bound


def _list_counts(page: BuiltReport) -> Iterable[Sequence[str]]:
    for name, count in page.counts.items():
        if count is not None:  # contradictions, where equal rows may differ
            yield name.replace("_", " "), f"{count:,}"
    yield "wrong labels", page.labels.share
    worst = page.worst_slice
    if worst:
        name = format_group_value(worst.value)
        yield "worst slice", f"{name}, {worst.accuracy:.1%} of {worst.queries:,} queries"


def _make_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *([escape_markdown(cell) for cell in row] for row in rows)]
    return [f"## {title}", "", *(f"| {' | '.join(line)} |" for line in lines)]


def escape_markdown(text: str) -> str:
    r"""Return a text on one line that is no markup.

    >>> escape_markdown("a|b <img> [x]")
    'a\\|b \\<img> \\[x\\]'
    """
    return _MARKUP.sub(r"\\\g<0>", escape_unprintable(" ".join(text.split())))
